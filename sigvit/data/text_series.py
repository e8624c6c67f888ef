"""Series in text: the `.ts` files of the time series archives, read with pandas."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd


def read_text_series(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The cases of a `.ts` file: a line each, channels separated by ":", samples by ",", the label last.

    What the header says of sizes isn't trusted (it is wrong in known files); the lines are.

    Returns
    -------
    values : float64 (cases, channels, samples), in the file's unit.
    labels : (cases,) text.

    Raises
    ------
    ValueError : no data section, time stamps, an unreadable or missing number, cases of unequal shape; with the file and the case.
    """
    path = Path(path)
    content = path.read_bytes()
    start = content.lower().find(b"\n@data")
    if start < 0:
        raise ValueError(f"{path.name} has no line @data: it is no .ts file, or it is cut short.")
    header = content[:start].lower().replace(b" ", b"")
    if b"@timestampstrue" in header:
        raise ValueError(f"{path.name} has time stamps in its cases; only evenly sampled series can be read.")
    lines = [line for line in content[start + 1 :].split(b"\n")[1:] if line.strip()]
    if not lines:
        raise ValueError(f"{path.name} has no case after @data.")
    cases, labels = zip(*(line.strip().rsplit(b":", 1) if b":" in line else (line, b"") for line in lines), strict=True)
    return _numbers(cases, path.name), np.array([label.decode() for label in labels])


def _numbers(cases: tuple[bytes, ...], name: str) -> np.ndarray:
    """float64 (cases, channels, samples)."""
    shapes = [(case.count(b":") + 1, case.count(b",") + case.count(b":") + 1) for case in cases]
    odd = next((number for number, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise ValueError(f"{name}: case {odd} has {_described(shapes[odd])}, case 0 has {_described(shapes[0])}; windows are equally long.")
    channels, numbers = shapes[0]
    if numbers % channels:
        raise ValueError(f"{name}: case 0 has {_described(shapes[0])}: its channels aren't equally long.")
    column = io.BytesIO(b",".join(cases).translate(bytes.maketrans(b":,", b"\n\n")))
    try:  # pandas reads a column of numbers three times as fast as numpy
        flat = pd.read_csv(column, header=None, dtype=np.float64, skip_blank_lines=False).to_numpy()
    except ValueError as error:
        raise ValueError(f"{name} holds what is no number ({error}); '?' marks missing samples, which can't be used.") from error
    values = flat.reshape(len(cases), channels, numbers // channels)
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: case {int(np.nonzero(~np.isfinite(values))[0][0])} holds NaN or infinity.")
    return values


def _described(shape: tuple[int, int]) -> str:
    return f"{shape[1]} numbers in {shape[0]} channel{'s' * (shape[0] > 1)}"


def laid_end_to_end(values: np.ndarray, row_step: int) -> np.ndarray:
    """Undo a conversion that cut overlapping rows out of the electrodes laid end to end.

    Some archives' files were made so: row r of a case holds the samples r·row_step to r·row_step + samples of all electrodes, one after
    the other, instead of electrode r. Neighbouring rows then repeat each other, and only the first few electrodes are in the file at all.

    Parameters
    ----------
    values : (cases, rows, samples), as the file has them.
    row_step : samples from one row's start to the next.

    Returns
    -------
    (cases, electrodes, samples) : the electrodes that the file holds completely, in the source's order.

    Raises
    ------
    ValueError : neighbouring rows don't repeat each other, so the file wasn't made so.

    Examples
    --------
    >>> import numpy as np
    >>> electrodes = np.arange(35.0).reshape(1, 7, 5)            # 7 electrodes, 5 samples
    >>> rows = np.stack([electrodes.reshape(1, -1)[:, 3 * row : 3 * row + 5] for row in range(4)], axis=1)
    >>> laid_end_to_end(rows, 3)                                 # 14 numbers: 2 electrodes and a rest
    array([[[0., 1., 2., 3., 4.],
            [5., 6., 7., 8., 9.]]])
    """
    cases, _, samples = values.shape
    if not np.array_equal(values[:, :-1, row_step:], values[:, 1:, : samples - row_step]):
        raise ValueError(f"the rows don't repeat each other from sample {row_step} on: row_step is not {row_step}, or the file is whole as it is.")
    flat = np.concatenate([values[:, :-1, :row_step].reshape(cases, -1), values[:, -1]], axis=1)
    electrodes = flat.shape[1] // samples
    return flat[:, : electrodes * samples].reshape(cases, electrodes, samples)


def repeated_row_step(values: np.ndarray) -> int | None:
    """By how many samples each row repeats the one before it, in every case; None where rows are different signals.

    >>> import numpy as np
    >>> series = np.random.default_rng(0).normal(size=(3, 97))
    >>> repeated_row_step(np.stack([series[:, 5 * row : 5 * row + 50] for row in range(7)], axis=1))
    5
    >>> repeated_row_step(np.random.default_rng(0).normal(size=(3, 7, 50))) is None
    True
    """
    if values.shape[1] < 2:
        return None
    samples = values.shape[2]
    for step in range(samples - 7):  # eight equal samples in every case and row are no chance
        first, second = values[0, 0, step:], values[0, 1, : samples - step]
        if np.array_equal(first, second) and np.ptp(first) and np.array_equal(values[:, :-1, step:], values[:, 1:, : samples - step]):
            return step
    return None
