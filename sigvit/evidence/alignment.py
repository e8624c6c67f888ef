"""Alignment of people and sessions to one another: each group's windows whitened by the group's own mean covariance."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from pyriemann.geometry.geodesic import geodesic_riemann
from pyriemann.geometry.mean import mean_riemann
from sklearn.utils.validation import check_is_fitted

from sigvit.data.windows import Windows
from sigvit.evidence.covariances import oas_covariances
from sigvit.evidence.handed_windows import checked_signals, fitted_signals
from sigvit.evidence.silence import CovarianceSilence
from sigvit.evidence.window_steps import WindowStep, origin_of

METRICS = ("euclidean", "riemann")
MODES = ("none", "inductive", "transductive", "online")
# How many windows the training part's reference counts as, where a running mean starts from it.
PRIOR_WINDOWS = 10
# Directions with less than this share of the largest variance hold nothing but roundings (an average reference leaves one), and are left out.
SMALLEST_VARIANCE = 1e-10

# N = windows, E = electrodes, S = samples


class Alignment(WindowStep):
    """Whitens every window by the inverse root of its group's reference, the mean covariance of the group, so that all groups have the same one.

    He & Wu, "Transfer Learning for Brain–Computer Interfaces: A Euclidean Space Data Alignment Approach", IEEE TBME 67, 2020 (the arithmetic mean);
    Zanini, Congedo, Jutten, Said & Berthoumieu, "Transfer Learning: A Riemannian Geometry Framework With Applications to Brain–Computer Interfaces",
    IEEE TBME 65, 2018 (the Riemannian mean of shrunken covariances). Signals keep the training part's mean size, in volts.

    Parameters
    ----------
    metric : "euclidean" or "riemann".
    mode : where a window's reference comes from when it is judged. Training windows always have their own group's.

        - "none": no alignment.
        - "inductive": from training windows alone: its own group's, else the mean of its subject's other groups, else of all groups.
        - "transductive": from all the windows of its group that are judged with it, without their labels. What is measured then needs the whole
          test part before the first answer; `uses_test_windows` says so, and the certificate's verdict is "tolerated".
        - "online": from the inductive one, which counts as ten windows, and its group's windows judged before it, in row order.
    by : "session" (of a subject) or "subject": what a group is, where subjects and sessions are told.

    Attributes
    ----------
    references_ : group → (E, E). reference_ : (E, E), the mean of all groups', each counted once. scale_ : size of the training signals, as a deviation.

    Raises
    ------
    ValueError : a metric, mode or `by` that isn't there; groups of another number than windows; groups for `transform` and none for `fit`, or the reverse.

    >>> generator = np.random.default_rng(0)
    >>> subjects = np.repeat(["01", "02"], 50)
    >>> signals = generator.normal(0, 1e-5, (100, 3, 101)) * np.where(subjects == "01", 1.0, 7.0)[:, None, None]
    >>> aligned = Alignment().fit_transform(signals, groups=subjects)
    >>> bool(np.isclose(aligned[:50].std(), aligned[50:].std()))
    True
    """

    # In a pipeline the groups travel under a name that no other step knows.
    __metadata_request__fit: ClassVar[dict[str, str]] = {"groups": "origin"}
    __metadata_request__transform: ClassVar[dict[str, str]] = {"groups": "origin"}

    def __init__(self, metric: str = "euclidean", mode: str = "inductive", by: str = "session") -> None:
        self.metric = metric
        self.mode = mode
        self.by = by

    @property
    def uses_test_windows(self) -> bool:
        """Whether all test windows of a group are read before the first is given back."""
        return self.mode == "transductive"

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Fit the references on training windows X (N, E, S), volts.

        `groups` are (N,) names, or (N, 2) subjects and sessions; None takes those of `Windows`, and one group for an array.
        """
        for name, choices in (("metric", METRICS), ("mode", MODES), ("by", ("session", "subject"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}.")
        signals = fitted_signals(self, X).astype(np.float64)
        self.n_electrodes_ = signals.shape[1]
        self._fit(signals, self._groups(X, groups))
        return self

    def transform(self, X: Any, groups: Any = None) -> Any:
        """Aligned windows; groups as in `fit`."""
        check_is_fitted(self, "n_electrodes_")
        found = self._groups(X, groups)
        if self.mode != "none" and (found is None) != (self.grouped_ is False):
            said, there = ("without", "come with") if not self.grouped_ else ("with", "come without")
            raise ValueError(f"Alignment was fitted {said} groups, but these windows {there} them; give groups to both or to neither.")
        return self._transformed(X, found)

    def fit_transform(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        """Training windows, each aligned by its own group's reference."""
        self.fit(X, y, groups)
        found = self._groups(X, groups)
        return self._transformed(X, found) if self.mode == "none" else self._written(X, self._by_training(checked_signals(X).astype(np.float64), found))

    def _fit(self, signals: np.ndarray, groups: np.ndarray | None) -> None:
        self.grouped_ = groups is not None
        if self.mode == "none":
            return
        measured = self._covariances(signals)
        self.silence_ = CovarianceSilence.of(measured) if self.metric == "riemann" else None
        covariances = self._heard(measured)
        self.references_ = {group: self._mean(covariances[rows]) for group, rows in _members(groups, len(signals)).items()}
        self.reference_ = self._mean(np.stack(list(self.references_.values())))
        self.scale_ = float(np.sqrt(np.trace(self.reference_) / len(self.reference_)))

    def _change(self, signals: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        if self.mode == "none":
            return signals
        if self.mode == "inductive":
            return self._by_training(signals, groups)
        changed, covariances = np.empty_like(signals), self._heard(self._covariances(signals))
        for group, rows in _members(groups, len(signals)).items():
            if self.mode == "transductive":
                changed[rows] = self._aligned(signals[rows], self._mean(covariances[rows]))
            else:
                changed[rows] = self._running(signals[rows], covariances[rows], self._trained(group))
        return changed

    def _by_training(self, signals: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        changed = np.empty_like(signals)
        for group, rows in _members(groups, len(signals)).items():
            changed[rows] = self._aligned(signals[rows], self._trained(group))
        return changed

    def _trained(self, group: tuple[str, ...]) -> np.ndarray:
        """The reference that the training part has for a group: its own, else its subject's, else everybody's."""
        if group in self.references_:
            return self.references_[group]
        related = [reference for other, reference in self.references_.items() if len(group) > 1 and other[0] == group[0]]
        return self._mean(np.stack(related)) if related else self.reference_

    def _running(self, signals: np.ndarray, covariances: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Each window by what was known before it; its own covariance counts for the next."""
        changed = np.empty_like(signals)
        for number, (signal, covariance) in enumerate(zip(signals, covariances, strict=True)):
            changed[number] = self._aligned(signal, reference)
            share = 1 / (PRIOR_WINDOWS + number + 1)
            reference = geodesic_riemann(reference, covariance, share) if self.metric == "riemann" else (1 - share) * reference + share * covariance
        return changed

    def _aligned(self, signals: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return self.scale_ * inverse_root(reference) @ signals

    def _covariances(self, signals: np.ndarray) -> np.ndarray:
        """(N, E, E): shrunken covariances, which have full rank, where the Riemannian mean needs it; else the plain second moments of He & Wu."""
        if self.metric == "riemann":
            return oas_covariances(signals)
        return signals @ signals.swapaxes(1, 2) / signals.shape[2]

    def _heard(self, covariances: np.ndarray) -> np.ndarray:
        """The same, those of silent windows replaced where they would have no logarithm."""
        return covariances if self.silence_ is None else self.silence_.fill(covariances)

    def _mean(self, covariances: np.ndarray) -> np.ndarray:
        return mean_riemann(covariances) if self.metric == "riemann" and len(covariances) > 1 else covariances.mean(axis=0)

    def _groups(self, X: Any, groups: Any) -> np.ndarray | None:
        """(N, levels) text, or None where nothing is told."""
        if groups is None and isinstance(X, Windows):
            groups = origin_of(X)
        if groups is None:
            return None
        named = np.asarray(groups, dtype=object)
        named = named[:, None] if named.ndim == 1 else named
        if named.ndim != 2 or len(named) != len(X):
            raise ValueError(f"There are {len(X)} windows, but groups of shape {np.shape(groups)}; give one name, or subject and session, a window.")
        return named[:, :1] if self.by == "subject" else named


def inverse_root(matrix: np.ndarray) -> np.ndarray:
    """The inverse square root of a symmetric matrix (E, E), on the directions that hold something.

    >>> inverse_root(np.diag([4.0, 0.0])).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    values, vectors = np.linalg.eigh(matrix)
    kept = values > SMALLEST_VARIANCE * max(values[-1], 0.0)
    return (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T


def _members(groups: np.ndarray | None, n_windows: int) -> dict[tuple[str, ...], np.ndarray]:
    """Group → its row numbers, in row order."""
    if groups is None:
        return {(): np.arange(n_windows)}
    found: dict[tuple[str, ...], list[int]] = {}
    for row, names in enumerate(groups):
        found.setdefault(tuple(map(str, names)), []).append(row)
    return {group: np.array(rows) for group, rows in found.items()}
