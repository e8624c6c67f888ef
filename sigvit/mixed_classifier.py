"""MixedRecordingClassifier: networks trained on windows of any caps, lengths and sampling rates."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sigvit.data.windows import Windows
from sigvit.electrodes import comparable_name
from sigvit.flat import one_where_flat
from sigvit.labels import plain_labels
from sigvit.model.random_state import borrowed_random_state
from sigvit.model.scaling import Scaling
from sigvit.model.vision_transformer import signal_vit
from sigvit.network_classifier import device_of, mean_history
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.training.loop import train
from sigvit.training.mixed_batches import MixedRecordingBatches, RecordingSet, mixed_logits
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe, steps_for
from sigvit.training.settings import default_settings


class MixedRecordingClassifier(ClassifierMixin, BaseEstimator):
    """Vision Transformers trained on recordings of several caps, lengths and rates as they are; they predict for any, also for caps that they never saw.

    Each electrode is standardised by the mean and deviation that electrodes of its name have in the training windows; one of a name that training lacks by
    those of all. Positions are "coordinates", so that a token knows its place on the head, its second and its frequency whatever the cap. Bad electrodes and
    samples that are NaN are masked. Probabilities are for classes as frequent as in the training windows, however many classes there are.

    Parameters
    ----------
    tokenizer : any of `sigvit.tokenizers` that reads recordings; copied, with its weights. None: each electrode's patches of a quarter of a second, at the
        lowest sampling rate of the training sets, so that no set's frequencies are missing from another's.
    width, depth, heads, mlp_width, dropout : of the encoder; see `sigvit.signal_vit`.
    networks : how many are trained, each from a seed of its own; the geometric mean of their probabilities predicts. What one network makes of a place on the
        head that no training cap has is left to its seed; several err in different directions.
    training_steps, batch_size, learning_rate, time_shift : see `sigvit.training.recipe.Recipe`. Every window is drawn as often as any other, whatever its set.
        Without a number of steps it is 1000, or as many as show every window 32 times.
    device : "cpu", "cuda", or "auto". random_state : seed of weights, order, dropout and augmentation. None draws one.

    Attributes
    ----------
    classes_ : sorted labels of all sets. models_ : the trained `VisionTransformer`s; model_ : the first. history_ : the losses by step, the mean of all
        networks. n_parameters_ : of all networks.
    center_, scale_ : by electrode name, in volts; "" is what other names get. selection_ : "none".

    Raises
    ------
    ValueError : no windows, no networks, anything but `Windows`, labels that are missing or don't fit them, fewer than two classes, or a device that isn't
        here.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> three, two = synthetic_windows(), synthetic_windows(electrodes=("P3", "P4"), n_times=50)
    >>> classifier = MixedRecordingClassifier(training_steps=5, width=8, heads=2).fit([three, two])
    >>> classifier.predict_proba(two).shape, classifier.predict([three, two]).shape
    ((60, 2), (120,))
    """

    takes_windows = True

    def __init__(
        self,
        tokenizer: nn.Module | None = None,
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        mlp_width: int = 64,
        dropout: float = 0.2,
        networks: int = 3,
        training_steps: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        time_shift: float = 0.1,
        device: str = "cpu",
        random_state: int | None = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.width = width
        self.depth = depth
        self.heads = heads
        self.mlp_width = mlp_width
        self.dropout = dropout
        self.networks = networks
        self.training_steps = training_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.time_shift = time_shift
        self.device = device
        self.random_state = random_state

    @default_settings()
    def fit(self, X: Windows | Sequence[Windows], y: Any = None) -> Self:
        """Train on one set of windows, or on several that may differ in cap, length and rate.

        y : (all windows, in their order) labels; left out, the sets' own.
        """
        sets = _sets(X)
        device_of(self.device)
        if self.networks < 1:
            raise ValueError(f"networks is {self.networks}; at least one has to be trained.")
        labels = plain_labels(np.concatenate([np.asarray(windows.labels, dtype=object) for windows in sets]) if y is None else y, "windows")
        bounds = np.cumsum([len(windows) for windows in sets])
        if labels.shape != (bounds[-1],):
            raise ValueError(f"There are {bounds[-1]} windows, but labels of shape {labels.shape}; give one a window, in the order of the sets.")
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Only one class is here ({self.classes_.tolist()[0]!r}); a classifier needs at least two classes to tell apart.")
        by_set = np.split(targets, bounds[:-1])
        _warn_of_confounded(sets, by_set, self.classes_)
        self._measure(sets)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        steps = steps_for(len(labels), self.batch_size) if self.training_steps is None else self.training_steps
        recipe = Recipe(steps=steps, batch_size=self.batch_size, learning_rate=self.learning_rate, time_shift=self.time_shift)
        parts = [self._set(*each) for each in zip(sets, by_set, strict=True)]
        trained = [self._train(sets, parts, recipe, derive_seed(seed, f"network {k}")) for k in range(self.networks)]
        self.models_, histories = map(list, zip(*trained, strict=True))
        self.model_, self.history_ = self.models_[0], mean_history(histories)
        self.n_parameters_, self.selection_ = sum(parameter.numel() for model in self.models_ for parameter in model.parameters()), "none"
        return self

    def predict_proba(self, X: Windows | Sequence[Windows]) -> np.ndarray:
        """(all windows, classes) probabilities, in the order of the sets and of `classes_`."""
        check_is_fitted(self, "models_")
        sets = [self._set(windows, np.zeros(len(windows), np.int64)) for windows in _sets(X)]
        log_probabilities = [torch.stack([mixed_logits(model, each).double().log_softmax(1) for model in self.models_]).mean(0) for each in sets]
        return softmax(torch.cat(log_probabilities).cpu().numpy(), axis=1)

    def predict(self, X: Windows | Sequence[Windows]) -> np.ndarray:
        """(all windows,) the most probable class."""
        most_probable = self.predict_proba(X).argmax(1)
        return self.classes_[most_probable]

    def _train(self, sets: Sequence[Windows], parts: Sequence[RecordingSet], recipe: Recipe, seed: int) -> tuple[nn.Module, list[dict[str, float]]]:
        """A network and its history."""
        with borrowed_random_state():
            torch.default_generator.manual_seed(derive_seed(seed, "initial weights"))  # a GPU's numbers, of which none are drawn, stay the caller's
            model = self._build(sets).to(device_of(self.device))
        return model, train(model, MixedRecordingBatches(parts, recipe, seed, len(self.classes_)), recipe, seed)

    def _build(self, sets: Sequence[Windows]) -> nn.Module:
        rate = min(windows.sampling_rate for windows in sets)
        tokenizer = copy.deepcopy(self.tokenizer)
        if tokenizer is None:
            # Electrode by electrode, the network's size doesn't depend on the caps, so any of them will do to build it.
            patch, names = max(1, round(0.25 * rate)), sets[0].electrodes
            tokenizer = ElectrodeTimePatches(len(names), 1, patch, patch, self.width, "pad", names=names, sampling_rate=rate)
        rate, count = (next(getattr(part, name) for part in tokenizer.modules() if hasattr(part, name)) for name in ("sampling_rate", "n_electrodes"))
        n_times = max(round(windows.values.shape[2] * rate / windows.sampling_rate) for windows in sets)
        return signal_vit(
            count,
            n_times,
            rate,
            len(self.classes_),
            tokenizer,
            "coordinates",
            depth=self.depth,
            heads=self.heads,
            mlp_width=self.mlp_width,
            pool="mean",
            dropout=self.dropout,
        )

    def _measure(self, sets: Sequence[Windows]) -> None:
        """Mean and deviation of each electrode name over all sets that have it, and of all electrodes together; good ones alone."""
        good = [
            (comparable_name(name), windows.values[:, at]) for windows in sets for at, name in enumerate(windows.electrodes) if name not in windows.info["bads"]
        ]
        sums: dict[str, np.ndarray] = {"": np.zeros(2)}
        for name, signal in good:
            own = np.array([np.isfinite(signal).sum(), np.nansum(signal, dtype=np.float64)])
            sums[name], sums[""] = sums.get(name, 0.0) + own, sums[""] + own
        self.center_ = {name: float(total / max(count, 1)) for name, (count, total) in sums.items()}
        squares = dict.fromkeys(sums, 0.0)
        for name, signal in good:
            for each in (name, ""):
                squares[each] += float(np.nansum((signal.astype(np.float64) - self.center_[each]) ** 2))
        deviations = np.sqrt([squares[name] / max(count, 1) for name, (count, _) in sums.items()])
        self.scale_ = dict(zip(sums, one_where_flat(deviations, np.array([*self.center_.values()])).tolist(), strict=True))

    def _set(self, windows: Windows, targets: np.ndarray) -> RecordingSet:
        names = [comparable_name(name) if comparable_name(name) in self.center_ else "" for name in windows.electrodes]
        center, scale = (np.array([numbers[name] for name in names]) for numbers in (self.center_, self.scale_))
        values = Scaling(center, scale)(windows.values, device=device_of(self.device))
        return RecordingSet(values, torch.as_tensor(targets, dtype=torch.int64, device=values.device), windows.info)


def _sets(X: Any) -> list[Windows]:
    sets = [X] if isinstance(X, Windows) else list(X) if isinstance(X, list | tuple) else []
    strangers = [type(windows).__name__ for windows in sets if not isinstance(windows, Windows)] or ([] if sets else [type(X).__name__])
    if strangers or not all(len(windows) for windows in sets):
        found = f"{strangers[0]}" if strangers else "a set without any"
        raise ValueError(
            f"Recordings of several caps are handed in as sigvit.Windows or a list of them, but here is {found}; "
            "sigvit.windows_from_raw, windows_from_epochs and windows_from_arrays make them."
        )
    return sets


def _warn_of_confounded(sets: Sequence[Windows], by_set: Sequence[np.ndarray], classes: np.ndarray) -> None:
    """A class that a set lacks can be told by what else tells the sets apart."""
    lacking = [(windows.name, label) for windows, targets in zip(sets, by_set, strict=True) for k, label in enumerate(classes.tolist()) if k not in targets]
    if lacking:
        name, label = lacking[0]
        warnings.warn(
            f"The set {name!r} has no window of class {label!r}: the network can then tell the class by the cap, the rate or the room instead of the signal, "
            "and a score on these sets says nothing of it.",
            stacklevel=3,
        )
