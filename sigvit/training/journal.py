"""The journal of a training: one line of metrics an interval, to the terminal, to metrics.csv and to TensorBoard."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from sigvit.whole_file import write_atomically

METRICS = ("loss", "accuracy", "learning_rate", "gradient_norm", "validation_loss")
# What a second run of the same training measures anew.
TIMES = ("samples_per_s", "share_of_peak", "seconds")
COLUMNS = ("step", *METRICS, *TIMES)

# How each stands in the terminal's line.
WORDS = {
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.1%}",
    "learning_rate": "learning rate {:.2e}",
    "gradient_norm": "gradient norm {:.3f}",
    "validation_loss": "validation loss {:.4f}",
    "samples_per_s": "{:,.0f} samples/s",
    "share_of_peak": "{:.1%} of peak",
}


class NotWrittenError(OSError):
    """A line of metrics couldn't be written: the disk is full, or the folder isn't ours."""


class Journal:
    """One line of metrics every so many steps.

    Parameters
    ----------
    folder : where metrics.csv goes (and TensorBoard's files, in tensorboard/); None writes to the terminal alone.
    every : steps from one line to the next.
    samples_per_step : of the whole batch, over all processes.
    flops_per_sample : floating-point operations of one training sample, forward and backward.
    peak_flops : operations a second that all the devices of this training were measured to reach; with both, the share of it is told.
    tensorboard : write for TensorBoard as well.
    console : where the lines go; `Console(quiet=True)` for nowhere.

    Columns of metrics.csv: step, loss, accuracy (both means over the steps since the line before, of the samples as the model saw them), learning_rate,
    gradient_norm (mean, before clipping), validation_loss where there was a look, samples_per_s and share_of_peak (without validation and saving), seconds
    since this process began. After a resume the file goes on behind the checkpoint's step, so that it holds every line once.

    Raises
    ------
    ValueError : `every` or `samples_per_step` below 1.
    ImportError : TensorBoard is asked for and isn't installed.
    NotWrittenError : when it is opened or written: the disk is full, or refuses.

    >>> journal = Journal(None, every=10, samples_per_step=32, console=Console(width=100))
    >>> journal.open(step=0, steps=100)
    >>> journal.write(10, {"loss": 1.25, "accuracy": 0.5, "learning_rate": 1e-3, "gradient_norm": 0.7})
    step 10/100  loss 1.2500  accuracy 50.0%  learning rate 1.00e-03  gradient norm 0.700  ... samples/s ... left
    """

    def __init__(
        self,
        folder: str | Path | None,
        every: int,
        samples_per_step: int,
        flops_per_sample: float | None = None,
        peak_flops: float | None = None,
        tensorboard: bool = False,
        console: Console | None = None,
    ) -> None:
        for name, number in (("every", every), ("samples_per_step", samples_per_step)):
            if number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1.")
        if tensorboard and folder is None:
            raise ValueError("TensorBoard's files need a folder, but folder is None.")
        self.folder = None if folder is None else Path(folder)
        self.every, self.samples_per_step = every, samples_per_step
        self.flops_per_sample, self.peak_flops = flops_per_sample, peak_flops
        self.console = Console(soft_wrap=True) if console is None else console
        self._board_class = _board_class() if tensorboard else None
        self._board: Any = None
        self.writes = False

    def due(self, step: int) -> bool:
        """Whether a line is to be written after so many steps."""
        return step % self.every == 0

    def open(self, step: int, steps: int, writes: bool = True) -> None:
        """Begin behind `step` of `steps`; with `writes` False, as in all processes but the first, nothing is written."""
        self.steps, self.writes = steps, writes
        self._first = self._last = step
        self._began = self._last_time = time.perf_counter()
        self._outside = 0.0
        if self.folder is None or not writes:
            return
        with _disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _cut(self.folder / "metrics.csv", step)
        if self._board_class is not None:
            self._board = self._board_class(self.folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line for the steps since the line before."""
        if not self.writes:
            return
        row = metrics | self._times(step)
        self.console.print(self._line(step, row), highlight=False)
        if self.folder is not None:
            with _disk(self.folder), open(self.folder / "metrics.csv", "a", newline="") as file:
                csv.writer(file).writerow([step, *(row.get(name, "") for name in COLUMNS[1:])])
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Around what isn't training (validation, saving), so that samples a second don't count it."""
        began = time.perf_counter()
        yield
        self._outside += time.perf_counter() - began

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _times(self, step: int) -> dict[str, float]:
        now = time.perf_counter()
        rate = (step - self._last) * self.samples_per_step / (now - self._last_time - self._outside)
        self._last, self._last_time, self._outside = step, now, 0.0
        times = {"samples_per_s": rate, "seconds": now - self._began}
        if self.flops_per_sample is not None and self.peak_flops is not None:
            times["share_of_peak"] = rate * self.flops_per_sample / self.peak_flops
        return times

    def _line(self, step: int, row: dict[str, float]) -> str:
        parts = [f"step {step}/{self.steps}"]
        parts += [words.format(row[name]) for name, words in WORDS.items() if name in row]
        if step < self.steps:
            parts.append(f"{duration(row['seconds'] / (step - self._first) * (self.steps - step))} left")
        return "  ".join(parts)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Around what writes into a folder."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(f"The metrics couldn't be written into {folder} ({error.strerror}).") from error


def duration(seconds: float) -> str:
    """In the two largest units.

    >>> duration(7), duration(200), duration(3720)
    ('7 s', '3 min 20 s', '1 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _cut(path: Path, step: int) -> None:
    """Leave the lines up to `step`, whole ones only: a kill may have cut the last one short, and those behind the checkpoint will be written again."""
    kept = [",".join(COLUMNS)]
    if step and path.is_file():
        header, *lines = path.read_text().splitlines(keepends=True) or [""]
        if header.strip() != kept[0]:
            raise ValueError(f"{path} has the columns {header.strip()!r} instead of {kept[0]!r}: it is of another program; move it away.")
        for number, line in enumerate(lines, start=2):
            first = line.strip().partition(",")[0]
            if not first or not line.endswith("\n"):
                continue
            if not first.isdecimal():
                raise ValueError(f"Line {number} of {path} begins with {first!r} instead of a step: remove the line, or move the file away.")
            if int(first) <= step:
                kept.append(line.strip())
    write_atomically(path, "\r\n".join(kept) + "\r\n")


def _board_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard's files are asked for, but the package isn't installed: pip install tensorboard.") from error
    return SummaryWriter
