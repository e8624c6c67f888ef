"""Names and positions of electrodes in the 10-05 system, computed from its geometry on a spherical head.

The system divides the arcs of a head into tenths (10-20, 10-10) and twentieths (10-05): Oostenveld & Praamstra, "The five percent electrode system for
high-resolution EEG and ERP measurements", Clinical Neurophysiology 112, 2001. Here the head is a sphere: four steps of 22 degrees lead from the vertex down
to the ring through Fpz, T7, Oz and T8, a fifth to the ring through nasion and inion. Coordinates are metres in the head frame of mne: x through the ears
to the right, y to the nose, z up. The inion lies higher in that frame than the nasion, so the vertex is tilted forward; the sphere's centre lies in
front of the line through the preauricular points, and so high that the nasion has height zero, as that frame wants it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

RADIUS_M = 0.095
STEP = np.deg2rad(22.0)  # a tenth of the arc from nasion over the vertex to inion
TILT = np.deg2rad(6.0)
RING, BELOW_RING, OUTER_RING = 4 * STEP, 4.5 * STEP, 5 * STEP
CENTRE_M = (0.0, 0.015, float(-RADIUS_M * np.cos(OUTER_RING + TILT)))
_EAR_M = float(np.sqrt(RADIUS_M**2 - CENTRE_M[1] ** 2 - CENTRE_M[2] ** 2))
FIDUCIALS_M = {"nasion": (0.0, CENTRE_M[1] + float(RADIUS_M * np.sin(OUTER_RING + TILT)), 0.0), "lpa": (-_EAR_M, 0.0, 0.0), "rpa": (_EAR_M, 0.0, 0.0)}

# Rows from front to back: what its electrodes are called beside the ears, and nearer to the midline. Each is a twentieth of the ring further back.
_ROWS = (
    ("AFp", "AFp"), ("AF", "AF"), ("AFF", "AFF"), ("F", "F"), ("FFT", "FFC"), ("FT", "FC"), ("FTT", "FCC"), ("T", "C"),
    ("TTP", "CCP"), ("TP", "CP"), ("TPP", "CPP"), ("P", "P"), ("PPO", "PPO"), ("PO", "PO"), ("POO", "POO"),
)  # fmt: skip
_FIRST_ROW = 3  # twentieths of the half ring from Fpz to the row AFp
_OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}  # of the 10-20 system of 1958; T5 and T6 lie in the row P
_REFERENCES = r"ref|vref|le|re|ar|avg|ave|av|a1|a2|m1|m2|a1a2|m1m2"
_NAME = re.compile(rf"^(?:eeg[ :_-]*)?([a-z]+[0-9]*h?)(?:[ _-]+({_REFERENCES}))?$", re.IGNORECASE)


def canonical_name(name: str) -> str | None:
    """The name of the 10-05 system that a channel name means, or None where it means none of its electrodes.

    Upper and lower case, dots, spaces, a leading "EEG" and a trailing reference ("-REF", "-LE", "-A1") don't matter. T3, T4, T5 and T6 are the
    old names of T7, T8, P7 and P8. A difference of two electrodes ("Fpz-Cz", "A2-A1") is none.

    >>> [canonical_name(name) for name in ("Fc5.", "EEG Fp1-REF", "CZ", "T5", "POO9h", "Fpz-Cz", "EOG")]
    ['FC5', 'Fp1', 'Cz', 'P7', 'POO9h', None, None]
    """
    found = _NAME.match(name.strip().replace(".", ""))
    if found is None or (found[2] and found[1].upper() in ("A1", "A2", "M1", "M2")):
        return None
    return _spellings().get(found[1].lower())


@cache
def comparable_name(name: str) -> str:
    """What an electrode is compared by: its name in the 10-05 system, or its own where it has none there."""
    return canonical_name(name) or name


def same_electrodes(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether these are the same electrodes in the same order, in any spelling.

    >>> same_electrodes(["EEG C3-REF", "T3"], ["C3", "T7"])
    True
    """
    return list(map(comparable_name, names)) == list(map(comparable_name, others))


def require_order(names: Sequence[str] | None, known: Sequence[str] | None, whose: str) -> None:
    """ValueError where an electrode has another name than the one in its place that `whose` was fitted on; None where names aren't known.

    >>> require_order(["EEG C3-REF", "Cz"], ["C3", "Fz"], "the classifier")
    Traceback (most recent call last):
    ValueError: Electrode 2 of X is Cz, but the classifier was fitted on Fz there: give the electrodes in its order.
    """
    for at, (name, own) in enumerate(zip(names or (), known or (), strict=False)):  # as many as the shape has
        if comparable_name(name) != comparable_name(own):
            raise ValueError(f"Electrode {at + 1} of X is {name}, but {whose} was fitted on {own} there: give the electrodes in its order.")


def few_names(names: Sequence[str]) -> str:
    """The first of them, for a message.

    >>> few_names(["C3", "Cz", "C4", "Fz", "Pz"]), few_names([])
    ('C3, Cz, C4, Fz … (5)', 'without names')
    """
    return (", ".join(names[:4]) + (f" … ({len(names)})" if len(names) > 4 else "")) or "without names"


def electrode_position(name: str) -> tuple[float, float, float] | None:
    """(x, y, z) in metres, head frame, of the electrode that a name means; None where it means none.

    >>> x, y, z = electrode_position("Cz")
    >>> (x, round(y, 4), round(z, 4))
    (0.0, 0.0249, 0.1361)
    """
    canonical = canonical_name(name)
    return None if canonical is None else electrode_table()[canonical]


def positions(names: Sequence[str]) -> np.ndarray:
    """float64 (names, 3), metres, head frame; a row of NaN for each name that isn't an electrode of the 10-05 system.

    >>> positions(["C3", "EOG"]).round(4).tolist()
    [[-0.066, 0.0221, 0.1096], [nan, nan, nan]]
    """
    nowhere = (np.nan, np.nan, np.nan)
    return np.array([electrode_position(name) or nowhere for name in names], dtype=np.float64).reshape(len(names), 3)


@cache
def electrode_table() -> dict[str, tuple[float, float, float]]:
    """Every electrode of the 10-05 system (345), the mastoids M1, M2 and the earlobes A1, A2: name → (x, y, z) in metres, head frame.

    >>> len(electrode_table()), electrode_table()["C4"][0] == -electrode_table()["C3"][0]
    (349, True)
    """
    left = _left_half()
    table = {}
    for name, (x, y, z) in left.items():
        table[name] = (x, y, z)
        if not name.endswith("z"):
            table[_mirrored(name)] = (-x, y, z)
    return table


@cache
def _spellings() -> dict[str, str]:
    return {name.lower(): name for name in electrode_table()} | {old.lower(): new for old, new in _OLD_NAMES.items()}


def _left_half() -> dict[str, tuple[float, float, float]]:
    """The midline and the left side, as metres in the head frame."""
    directions: dict[str, np.ndarray] = {}
    for number, (lateral, medial) in enumerate(_ROWS):
        directions |= _row(lateral, medial, _FIRST_ROW + number)
    for row, polar in (("N", OUTER_RING), ("NFp", BELOW_RING), ("Fp", RING)):
        directions |= {f"{row}{end}": _direction(polar, twentieth) for end, twentieth in (("z", 0), ("1h", 1), ("1", 2))}
    for row, polar in (("O", RING), ("OI", BELOW_RING), ("I", OUTER_RING)):
        directions |= {f"{row}{end}": _direction(polar, twentieth) for end, twentieth in (("z", 20), ("1h", 19), ("1", 18))}
    directions["A1"] = _direction(6 * STEP, 10)  # a step below T9
    directions["M1"] = _direction(6 * STEP, 12)  # a step below TP9
    return {name: _metres(direction) for name, direction in directions.items()}


def _row(lateral: str, medial: str, twentieth: int) -> dict[str, np.ndarray]:
    """One row from below the ear to the midline: 9 and 9h on or near the outer ring, 7 on the ring, then eighths of the arc up to the midline."""
    midline = _direction((10 - twentieth) * STEP / 2, 0)
    arc = _arc(_direction(RING, twentieth), midline)
    names = [f"{lateral}7", f"{lateral}7h", *(f"{medial}{number}" for number in ("5", "5h", "3", "3h", "1", "1h")), f"{medial}z"]
    outer = {f"{lateral}9": _direction(OUTER_RING, twentieth), f"{lateral}9h": _direction(BELOW_RING, twentieth)}
    return outer | dict(zip(names, arc, strict=True))


def _direction(polar: float, twentieth: float) -> np.ndarray:
    """Unit vector at an angle from the vertex, so many twentieths of the half circle from the nose over the left ear to the back."""
    azimuth = twentieth * np.pi / 20
    across = 0.0 if twentieth in (0, 20) else np.sin(azimuth)  # the midline is exactly in the middle
    return np.array([-np.sin(polar) * across, np.sin(polar) * np.cos(azimuth), np.cos(polar)])


def _arc(side: np.ndarray, middle: np.ndarray, steps: int = 8) -> np.ndarray:
    """Evenly spaced points from the left ring point to the midline point, on the circle through both and the right ring point."""
    mirrored = side * (-1, 1, 1)
    foot = (side + mirrored) / 2
    upward = middle - foot
    height = np.linalg.norm(upward)
    half_chord = -side[0]
    radius = (height**2 + half_chord**2) / (2 * height)
    centre = middle - upward / height * radius
    across = np.array([-1.0, 0.0, 0.0])
    opening = np.arctan2(half_chord, (side - centre) @ upward / height)
    angles = opening * (1 - np.arange(steps + 1) / steps)
    return centre + radius * (np.outer(np.sin(angles), across) + np.outer(np.cos(angles), upward / height))


def _metres(direction: np.ndarray) -> tuple[float, float, float]:
    """The place on the tilted sphere, head frame."""
    x, front, up = RADIUS_M * direction
    y, z = front * np.cos(TILT) + up * np.sin(TILT), up * np.cos(TILT) - front * np.sin(TILT)
    return float(x) + 0.0, float(y + CENTRE_M[1]), float(z + CENTRE_M[2])


def _mirrored(name: str) -> str:
    """The same place on the right side: odd numbers become the next even ones."""
    return re.sub(r"\d+", lambda number: str(int(number[0]) + 1), name)
