"""The scalp as a picture: its flattening, and the weights that lead from electrodes to pixels. numpy only.

The head is the sphere of `sigvit.electrodes`. A place's flattened coordinates are its arc from Cz in metres, to the right and to the back (the azimuthal
equidistant map): distances from Cz are kept, neighbours stay neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre

from sigvit.electrodes import CENTRE_M, OUTER_RING, RADIUS_M, electrode_position

# E = electrodes, P = pixels

EXTENT_M = RADIUS_M * OUTER_RING  # from the middle of the picture to each edge: the arc from Cz to the outermost ring of the 10-05 system
SOFTENING_M = 0.01  # nearer than this, an electrode weighs hardly more
SPLINE_ORDER, SPLINE_TERMS, SPLINE_SMOOTHING = 4, 50, 1e-5


def flatten(positions: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """(E, 3) metres in the head frame → (E, 2) metres to the back and to the right of Cz, along the scalp.

    >>> back, right = flatten([electrode_position("C4")])[0]
    >>> abs(round(float(back), 3)), round(float(right), 3)
    (0.0, 0.073)
    """
    right, front, up = (directions(positions) @ _frame()).T
    arc = RADIUS_M * np.arccos(np.clip(up, -1, 1))
    beside = np.maximum(np.hypot(right, front), 1e-12)
    return np.stack([-front / beside * arc, right / beside * arc], axis=1)


def directions(positions: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """(E, 3) unit vectors from the head's centre."""
    arms = np.asarray(positions, dtype=float) - CENTRE_M
    return arms / np.linalg.norm(arms, axis=1, keepdims=True)


def pixel_places(size: tuple[int, int]) -> np.ndarray:
    """(P, 2): the flattened coordinates of the pixels' middles, row by row; the first row is in front.

    >>> pixel_places((2, 2)).round(3).tolist()
    [[-0.091, -0.091], [-0.091, 0.091], [0.091, -0.091], [0.091, 0.091]]
    """
    back, right = (((np.arange(count) + 0.5) / count * 2 - 1) * EXTENT_M for count in size)
    return np.stack(np.meshgrid(back, right, indexing="ij"), axis=-1).reshape(-1, 2)


def pixel_directions(size: tuple[int, int]) -> np.ndarray:
    """(P, 3) unit vectors from the head's centre to the pixels."""
    back, right = pixel_places(size).T
    arc = np.hypot(back, right)
    beside = np.sin(arc / RADIUS_M) / np.maximum(arc, 1e-12)
    return np.stack([right * beside, -back * beside, np.cos(arc / RADIUS_M)], axis=1) @ _frame().T


def inverse_distance_weights(pixels: np.ndarray, electrodes: np.ndarray) -> np.ndarray:
    """(P, E) from unit vectors, not yet divided by their sums: 1 / distance⁴ along the scalp (Shepard 1968), softened within a centimetre."""
    arcs = RADIUS_M * np.arccos(np.clip(pixels @ electrodes.T, -1, 1))
    return (SOFTENING_M**2 / (arcs**2 + SOFTENING_M**2)) ** 2


@lru_cache(maxsize=64)
def cap_weights(size: tuple[int, int], places: bytes) -> np.ndarray:
    """(E, P) inverse-distance weights of a cap, whose places are the bytes of (E, 3) float64 metres; zero where one isn't known.

    Kept, because the same caps come again and again.
    """
    sites = np.frombuffer(places).reshape(-1, 3)
    known = np.isfinite(sites).all(axis=1)
    weights = np.zeros((len(sites), size[0] * size[1]))
    weights[known] = inverse_distance_weights(pixel_directions(size), directions(sites[known])).T
    return weights


def spline_weights(pixels: np.ndarray, electrodes: np.ndarray) -> np.ndarray:
    """(P, E) from unit vectors: spherical splines (Perrin et al. 1989), with the order, terms and smoothing of mne; rows sum to one."""
    count = len(electrodes)
    between = np.pad(_spline(electrodes @ electrodes.T) + SPLINE_SMOOTHING * np.eye(count), (0, 1), constant_values=1.0)
    between[-1, -1] = 0.0
    onto = np.pad(_spline(pixels @ electrodes.T), ((0, 0), (0, 1)), constant_values=1.0)
    return onto @ np.linalg.pinv(between)[:, :-1]


def _spline(cosines: np.ndarray) -> np.ndarray:
    terms = np.arange(1, SPLINE_TERMS + 1)
    factors = (2 * terms + 1) / (terms**SPLINE_ORDER * (terms + 1.0) ** SPLINE_ORDER * 4 * np.pi)
    return legendre.legval(cosines, np.concatenate([[0.0], factors]))


def _frame() -> np.ndarray:
    """(3, 3): columns to the right, to the front and up, where up leads to Cz."""
    vertex = electrode_position("Cz")
    assert vertex is not None
    up = directions([vertex])[0]
    right = np.array([1.0, 0.0, 0.0])
    return np.stack([right, np.cross(up, right), up], axis=1)
