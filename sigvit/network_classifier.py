"""What every network classifier shares: reading input, scaling inside the fit, early stopping, prediction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from sigvit.data.windows import Windows
from sigvit.training.batches import RecordingBatches
from sigvit.training.loop import evaluate, train
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe

VALIDATION_SHARE = 0.2


@dataclass
class TrainingPart:
    """What one fit sees: signals (windows, electrodes, samples), class numbers, groups or None, a held-out part or None, and the electrodes (Info or count)."""

    signals: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None
    held_out: tuple[np.ndarray, np.ndarray] | None
    electrodes: Any


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """Base of the network classifiers; a subclass has the methods `recipe(n_windows)` and `build(electrodes, n_times, n_classes)`.

    Signals are standardised by each electrode's mean and deviation over the training windows, never by the window's own, which would erase power.
    """

    takes_windows = True

    # Parameters that every subclass has.
    random_state: int | None
    class_weight: Any
    device: str
    early_stopping: bool
    progress: bool

    def recipe(self, n_windows: int) -> Recipe:
        raise NotImplementedError

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, groups: Any = None, validation: tuple[Any, Any] | None = None) -> NetworkClassifier:
        """Train on windows X and labels y.

        Parameters
        ----------
        X : float (windows, electrodes, samples) in volts; a 2-D array is one electrode; `mne.Epochs` and `Windows` bring their electrodes along.
        y : (windows,) labels; left out, those of Epochs or Windows are taken.
        groups : (windows,) subjects or runs; early stopping without `validation` holds out whole groups.
        validation : (X, y) that chooses the weights when `early_stopping` is on; otherwise it is trained on as well.

        Raises
        ------
        ValueError : fewer than two classes, other shapes than fitted on, NaN or infinity.
        """
        self._train(self._prepare(X, y, groups, validation))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(windows, classes) probabilities, in the order of `classes_`."""
        check_is_fitted(self, "model_")
        signals, _, _ = self._read(X, None, reset=False)
        with torch.no_grad():
            parts = [self.model_(part).double().softmax(1) for part in self._standardise(signals).split(256)]
        return torch.cat(parts).cpu().numpy()

    def predict(self, X: Any) -> np.ndarray:
        """(windows,) the most probable class."""
        most_probable = self.predict_proba(X).argmax(1)
        return self.classes_[most_probable]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _prepare(self, X: Any, y: Any, groups: Any, validation: tuple[Any, Any] | None) -> TrainingPart:
        signals, electrodes, y = self._read(X, y, reset=True)
        check_classification_targets(y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Only one class is here ({self.classes_[0]!r}); a classifier needs at least two classes to tell apart.")
        part = TrainingPart(signals, targets, None if groups is None else np.asarray(groups), None, electrodes)
        if validation is not None:
            extra, _, extra_y = self._read(validation[0], validation[1], reset=False)
            part.held_out = (extra, self._class_numbers(extra_y))
        if self.early_stopping and part.held_out is None:
            return _hold_out(part, derive_seed(_seed(self.random_state), "hold out"))
        return part if self.early_stopping or part.held_out is None else _join(part)

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, Any, Any]:
        """Signals (windows, electrodes, samples), electrodes (Info or count) and labels of whatever was handed in."""
        electrodes: Any = None
        if isinstance(X, Windows):
            electrodes, y, X = X.info, X.labels if y is None else y, X.values
        elif hasattr(X, "get_data") and hasattr(X, "event_id"):
            electrodes, y, X = X.info, _epoch_labels(X) if y is None else y, X.get_data(copy=False)
        floats = (np.float32, np.float64)
        if reset:
            X, y = validate_data(self, X, y, reset=True, allow_nd=True, dtype=floats, ensure_min_samples=2)
        else:
            X = validate_data(self, X, reset=False, allow_nd=True, dtype=floats)
        signals = X[:, None, :] if X.ndim == 2 else X
        if signals.ndim != 3:
            raise ValueError(f"X has {X.ndim} axes; it must be (windows, electrodes, samples), or (windows, samples) for one electrode.")
        if reset:
            self.signal_shape_ = signals.shape[1:]
        elif signals.shape[1:] != self.signal_shape_:
            raise ValueError(f"X holds windows of {signals.shape[1:]} electrodes × samples, but the classifier was fitted on {self.signal_shape_}.")
        return signals, signals.shape[1] if electrodes is None else electrodes, y

    def _class_numbers(self, y: Any) -> np.ndarray:
        unknown = set(np.unique(y).tolist()) - set(self.classes_.tolist())
        if unknown:
            raise ValueError(
                f"The validation part holds the classes {sorted(unknown)}, which the training part lacks; training knows {self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y)

    def _train(self, part: TrainingPart) -> None:
        seed = _seed(self.random_state)
        self.center_ = part.signals.mean((0, 2), dtype=np.float64)
        deviation = part.signals.std((0, 2), dtype=np.float64)
        self.scale_ = np.where(deviation == 0, 1.0, deviation)
        self.selection_ = "none" if part.held_out is None else "validation"
        recipe = self.recipe(len(part.signals))
        self._dtype = torch.float64 if recipe.dtype == "float64" else torch.float32
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "initial weights"))
            model = self.build(part.electrodes, part.signals.shape[2], len(self.classes_))
        self.model_ = model.to(self._device(), self._dtype)
        self.n_parameters_ = sum(parameter.numel() for parameter in model.parameters())
        weights = self._class_weights(part.targets)
        batches = RecordingBatches(self._standardise(part.signals), self._on_device(part.targets), recipe, seed, len(self.classes_))
        validation = None
        if part.held_out is not None:
            values, targets = self._standardise(part.held_out[0]), self._on_device(part.held_out[1])
            validation = partial(evaluate, values=values, targets=targets, class_weights=weights)
        with Progress(disable=not self.progress) as bar:
            task = bar.add_task("training", total=recipe.steps)
            done = (lambda step: bar.update(task, completed=step)) if self.progress else None
            self.history_ = train(self.model_, batches, recipe, seed, class_weights=weights, validation=validation, on_step=done)

    def _standardise(self, signals: np.ndarray) -> Tensor:
        """Each electrode less its training mean, by its training deviation; (windows, electrodes, samples) on the device."""
        return torch.as_tensor((signals - self.center_[:, None]) / self.scale_[:, None], dtype=self._dtype, device=self._device())

    def _on_device(self, targets: np.ndarray) -> Tensor:
        return torch.as_tensor(targets, dtype=torch.int64, device=self._device())

    def _class_weights(self, targets: np.ndarray) -> Tensor | None:
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise ValueError(f'class_weight is {self.class_weight!r}; it must be None, "balanced" or a dictionary {{class: weight}}.')
            weights = len(targets) / (len(self.classes_) * np.bincount(targets, minlength=len(self.classes_)))
        else:
            weights = np.array([self.class_weight.get(label, 1.0) for label in self.classes_.tolist()])
        return torch.as_tensor(weights, dtype=self._dtype, device=self._device())

    def _device(self) -> torch.device:
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(automatic if self.device == "auto" else self.device)


def _join(part: TrainingPart) -> TrainingPart:
    """A validation part that nothing is chosen by is trained on as well; it is a group of its own."""
    assert part.held_out is not None
    signals = np.concatenate([part.signals, part.held_out[0]])
    targets = np.concatenate([part.targets, part.held_out[1]])
    groups = part.groups
    if groups is not None:
        several = len(np.unique(groups)) > 1
        groups = np.concatenate([groups.astype(str), np.full(len(part.held_out[1]), "validation")]) if several else None
    return TrainingPart(signals, targets, groups, None, part.electrodes)


def _hold_out(part: TrainingPart, seed: int) -> TrainingPart:
    """A validation part of whole groups where there are several, else the last fifth of each class."""
    chosen = np.zeros(len(part.targets), dtype=bool)
    names = np.unique(part.groups) if part.groups is not None else np.array([])
    if part.groups is not None and len(names) > 1:
        shuffled = np.random.default_rng(seed).permutation(names)
        chosen = np.isin(part.groups, shuffled[: max(1, round(VALIDATION_SHARE * len(names)))])
    else:
        for number in np.unique(part.targets):
            rows = np.flatnonzero(part.targets == number)
            chosen[rows[len(rows) - max(1, int(VALIDATION_SHARE * len(rows))) :]] = True
    if set(part.targets[~chosen]) != set(part.targets):
        raise ValueError("Holding out a validation part left a class without training windows; give `validation`, more windows, or early_stopping=False.")
    groups = None if part.groups is None else part.groups[~chosen]
    return TrainingPart(part.signals[~chosen], part.targets[~chosen], groups, (part.signals[chosen], part.targets[chosen]), part.electrodes)


def _seed(random_state: Any) -> int:
    """A whole number stays; None draws one; a RandomState gives its next."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(np.random.default_rng().integers(2**31)) if random_state is None else int(random_state)


def _epoch_labels(epochs: Any) -> np.ndarray:
    """Names of the events of `mne.Epochs`."""
    names = {code: name for name, code in epochs.event_id.items()}
    return np.array([names[code] for code in epochs.events[:, 2]])
