"""SignalViTClassifier: Vision Transformers for recordings as a scikit-learn classifier, married to a classical half."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor, nn

from sigvit.class_shares import class_weights, taught_shares
from sigvit.evidence import baselines
from sigvit.evidence.blend import Blend, fit_with_groups
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.inner_folds import first_alike, inner_folds, telling_windows
from sigvit.evidence.log_linear_pool import LEAST_PROBABILITY, blend_weights, for_even_classes, logarithms, pooled, told_apart
from sigvit.halves import Fitting, Halves
from sigvit.model.vision_transformer import signal_vit
from sigvit.network_classifier import NetworkClassifier, network_log_probabilities
from sigvit.network_input import read_input
from sigvit.tokenizers import ConvStem
from sigvit.training.fine_tuning import choose_trained, merge
from sigvit.training.member import Member
from sigvit.training.recipe import Recipe, steps_for
from sigvit.training.starting import start_from
from sigvit.training_part import TrainingPart

__all__ = ["FitJob", "SignalViTClassifier"]

# Trainings of an ensemble; with fewer inner folds than that many, a network without one of them sees too little to predict.
NETWORKS = 5
FEWEST_FOLDS = 4
# Shares no further apart are alike: weights of "balanced" classes leave the last bits of a double.
ROUNDING = 1e-12


class SignalViTClassifier(NetworkClassifier):
    """Vision Transformers whose tokens are cut from electrodes × time, blended in log-probability with classical pipelines fitted on the same windows.

    The two err on different windows: docs/log.md has what each adds.

    Parameters
    ----------
    tokenizer : a module (windows, electrodes, samples) → `Tokens`; None is `ConvStem.for_windows`: filters over time and electrodes. A given one is copied
        with its weights, which every seed then starts from; the certificate warns that nothing says what these have seen.
    whiten : whether that stem reads whitened electrodes (`ConvStem(whiten=True)`). "auto": where on inner folds of the training windows a classical
        pipeline that reads rhythms is ahead of the one that reads the course in time (`baselines.rhythms_tell_more`); not without `classical="auto"`.
    width, depth, heads, mlp_width, pool, positions, dropout, stochastic_depth : of the encoder; see `sigvit.signal_vit`.
    epochs : passes over the training windows. training_steps : optimiser steps whatever the number of windows. One of the two; where both are None, 1000
        steps, or as many as show every window 32 times (`sigvit.training.recipe.steps_for`).
    batch_size, learning_rate, weight_decay, label_smoothing, ema_decay, time_shift, noise, mixup, time_mask, channel_dropout, amplitude_scale,
        surrogate, frequency_shift, recombination, hemisphere_flip, dtype : see `sigvit.training.recipe.Recipe`.
    label_map : class → class of the mirrored window, for `hemisphere_flip`; {} where each keeps its own. None exchanges "left" and "right" in the classes'
        names; where none of them says either, a map is needed.
    ensemble : five networks. Each is trained without one inner fold of the training windows (whole groups where there are several); their average predicts,
        and what each says of its own fold tells how much the network weighs beside its classical half. Where there are only two or three groups, two or
        three networks tell the weight, and the others, trained on all windows, predict. False: one network on all windows, equal weights.
    classical : None (the network alone), "auto" (all classical pipelines that the windows allow, blended with weights chosen on inner folds:
        `sigvit.baselines.classical_blend`), or any classifier of (windows, electrodes, samples) with `predict_proba`.
    early_stopping : hold out a validation part, or take the one given to `fit`, and return the weights with the lowest loss there, giving up
        after `patience` looks without a better one.
    class_weight : None, "balanced", or {class: weight} of the network's loss.
    even_classes : whether the answer is for classes that are equally frequent, as balanced accuracy asks: the classes' shares that the network has learned from
        its training windows (`class_weight`, smoothing and flips of hemispheres included), and the classical half (the plain ones), are divided out. `log_loss`
        and `calibration_error`, which count test windows as they are, are as a rule larger for it where classes are unequal; compare them with
        `even_classes=False`. A `classical` of your own is taken for one that answers for the training windows' shares; where it doesn't (`class_weight`,
        `priors`), say `even_classes=False`. "auto": with more than two classes, unless `class_weight` is a dictionary, which says itself what they count.
    device : "cpu", "cuda", or "auto". progress : show a bar with the time left while the network trains.
    pretrained : folder of a model (`experiments/pretraining.py`) that every network starts from, with a new head; its own tokenizer, sizes and dropout count,
        not those above. `cross_validate` refuses one that has seen a test part.
    trained : what of it learns: "all", "head" (the rest stays as it is) or "lora" (head and low-rank additions of this `rank` to the attention).
    random_state : seed of weights, order, dropout and augmentation. None draws one.

    Attributes
    ----------
    classes_ : sorted labels. whitened_ : whether the networks' stem whitens. models_ : the trained `VisionTransformer`s; model_ : the first.
    classical_ : the fitted classical half or None. weights_ : of network and classical half in the blend, or None. history_ : the losses by step, the mean of
        all networks.
    class_shares_ : {"network", "classical half": (classes,) what is divided out of its probabilities}; nothing where all classes are alike.
    n_parameters_ : of all networks. selection_ : "validation" where a validation part chose the weights, else "none".

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> windows = synthetic_windows(effect=3.0)
    >>> classifier = SignalViTClassifier(training_steps=50, classical=None).fit(windows, windows.labels)
    >>> classifier.predict_proba(windows).shape
    (60, 2)
    """

    class_shares_: Mapping[str, np.ndarray] = MappingProxyType({})  # pickles of before lack it

    def __init__(
        self,
        tokenizer: nn.Module | None = None,
        whiten: bool | str = "auto",
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        mlp_width: int = 64,
        pool: str = "mean",
        positions: str = "learned",
        dropout: float = 0.2,
        stochastic_depth: float = 0.0,
        epochs: int | None = None,
        training_steps: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        ema_decay: float = 0.99,
        time_shift: float = 0.1,
        noise: float = 0.0,
        mixup: float = 1.0,
        time_mask: float = 0.0,
        channel_dropout: float = 0.0,
        amplitude_scale: float = 0.0,
        surrogate: float = 0.0,
        frequency_shift: float = 0.0,
        recombination: float = 0.0,
        hemisphere_flip: float = 0.0,
        label_map: dict | None = None,
        dtype: str = "float32",
        ensemble: bool = True,
        classical: str | BaseEstimator | None = "auto",
        early_stopping: bool = False,
        patience: int = 10,
        class_weight: str | dict | None = None,
        even_classes: bool | str = "auto",
        device: str = "cpu",
        progress: bool = False,
        pretrained: str | None = None,
        trained: str = "all",
        rank: int = 4,
        random_state: int | None = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.whiten = whiten
        self.width = width
        self.depth = depth
        self.heads = heads
        self.mlp_width = mlp_width
        self.pool = pool
        self.positions = positions
        self.dropout = dropout
        self.stochastic_depth = stochastic_depth
        self.epochs = epochs
        self.training_steps = training_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.ema_decay = ema_decay
        self.time_shift = time_shift
        self.noise = noise
        self.mixup = mixup
        self.time_mask = time_mask
        self.channel_dropout = channel_dropout
        self.amplitude_scale = amplitude_scale
        self.surrogate = surrogate
        self.frequency_shift = frequency_shift
        self.recombination = recombination
        self.hemisphere_flip = hemisphere_flip
        self.label_map = label_map
        self.dtype = dtype
        self.ensemble = ensemble
        self.classical = classical
        self.early_stopping = early_stopping
        self.patience = patience
        self.class_weight = class_weight
        self.even_classes = even_classes
        self.device = device
        self.progress = progress
        self.pretrained = pretrained
        self.trained = trained
        self.rank = rank
        self.random_state = random_state

    def recipe(self, n_windows: int) -> Recipe:
        """The training recipe for so many windows: of what both name, these numbers."""
        own = {field.name: getattr(self, field.name) for field in fields(Recipe) if hasattr(self, field.name)}
        return Recipe(**own | {"steps": self._steps(n_windows), "patience": self.patience if self.early_stopping else 0})

    def _steps(self, n_windows: int) -> int:
        if self.epochs is None:
            return steps_for(n_windows, self.batch_size) if self.training_steps is None else self.training_steps
        if self.training_steps is not None:
            raise ValueError(f"epochs is {self.epochs} and training_steps {self.training_steps}; each says how long to train: leave one of the two out.")
        return self.epochs * max(1, n_windows // max(1, self.batch_size))  # the recipe refuses less than 1

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        if self.pretrained is not None:
            if self.tokenizer is not None:
                raise ValueError(f"The model in {self.pretrained} has its own tokenizer, but another was given; leave one of the two out.")
            model = start_from(self.pretrained, electrodes, n_times, n_classes)
            return choose_trained(model, self.trained, self.rank, seed=torch.initial_seed() % 2**63)
        if self.trained != "all":
            raise ValueError(f"trained is {self.trained!r}, but there is no pre-trained model of which the rest could stay as it is; give `pretrained`.")
        return signal_vit(
            electrodes,
            n_times=n_times,
            num_classes=n_classes,
            tokenizer=self._tokenizer(electrodes, n_times),
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_width=self.mlp_width,
            pool=self.pool,
            positions=self.positions,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
        )

    def _tokenizer(self, electrodes: Any, n_times: int) -> nn.Module:
        if self.tokenizer is not None:
            return copy.deepcopy(self.tokenizer)  # training must not change a parameter of the classifier
        count, rate = (electrodes, None) if isinstance(electrodes, int) else (len(electrodes["ch_names"]), electrodes["sfreq"])
        # One architecture for folds that whiten and folds that don't: they train in one stack, and what one chooses changes no rounding of another.
        return ConvStem.for_windows(count, n_times, rate, self.width, whiten=self.whiten is not False)

    def _set_reference(self, model: nn.Module, values: Tensor) -> None:
        """The default stem's whitening stays the identity where the rule says no."""
        if self.whitened_ or self.tokenizer is not None or self.pretrained is not None:
            super()._set_reference(model, values)

    def _left_out(self, part: TrainingPart) -> list[np.ndarray | None]:
        """What each network doesn't see: an inner fold, or, where these are so few that a network without one lacks a third of the windows, nothing."""
        if not self.ensemble:
            return [None]
        divided = inner_folds(part.targets, part.groups, telling_windows(part.signals, part.targets))
        if not divided:
            return [None]
        first = first_alike(part.signals)  # copies go with their windows
        folds: list[np.ndarray | None] = [np.flatnonzero(np.isin(first, judge)) for _, judge in divided]
        return folds if len(folds) >= FEWEST_FOLDS else folds + [None] * (NETWORKS - len(folds))

    def _prepare(self, X: Any, y: Any, groups: Any, validation: tuple[Any, Any] | None) -> TrainingPart:
        part = super()._prepare(X, y, groups, validation)
        # Refuse before anything is fitted.
        self._evens()
        self.recipe(len(part.targets))
        return part

    def _begin(self, part: TrainingPart, halves: Halves) -> None:
        """The classical half, which says what the networks read; fits on the same part share it where it is ours."""
        shared = self._shared_half()
        self.classical_ = self._fit_classical(part) if shared is None else halves.once(part, shared)
        self.whitened_ = self._whitens()

    def _shared_half(self) -> Fitting | None:
        return self._fit_classical if isinstance(self.classical, str) and self.classical == "auto" else None

    def _whitens(self) -> bool:
        own = self.tokenizer is None and self.pretrained is None
        if self.whiten is True and not own:
            raise ValueError("whiten is True, but only the default stem reads it; give no tokenizer and no pretrained model, or a ConvStem with whiten=True.")
        if not own:
            return False
        if self.whiten in (True, False):
            return bool(self.whiten)
        if self.whiten != "auto":
            raise ValueError(f'whiten is {self.whiten!r}; it must be True, False or "auto".')
        return isinstance(self.classical_, Blend) and baselines.rhythms_tell_more(self.classical_)

    def _members(self, part: TrainingPart, name: str = "", key: str = "") -> list[Member]:
        self.class_shares_ = self._shares_to_divide_out(part)
        return super()._members(part, name, key)

    def _shares_to_divide_out(self, part: TrainingPart) -> dict[str, np.ndarray]:
        """What each half learns of how frequent the classes are, where that is to be left out of the answer and they aren't alike."""
        weights = class_weights(self.class_weight, part.targets, self.classes_.tolist())
        shares = np.bincount(part.targets, minlength=len(self.classes_)) / len(part.targets)
        learned = {"network": taught_shares(self._shown_shares(part, shares), weights, self.label_smoothing), "classical half": shares}
        return {half: each for half, each in learned.items() if self._evens() and np.ptp(each) > ROUNDING}

    def _shown_shares(self, part: TrainingPart, shares: np.ndarray) -> np.ndarray:
        """Of the classes in what the network sees: a flipped window is of its mirror image's class."""
        mirror = self._mirror(part, self.recipe(len(part.targets)))
        return shares if mirror is None else (1 - self.hemisphere_flip) * shares + self.hemisphere_flip * shares[list(mirror.classes)]

    def _evens(self) -> bool:
        named = isinstance(self.class_weight, Mapping)
        if self.even_classes == "auto":
            return len(self.classes_) > 2 and not named
        if self.even_classes not in (True, False):
            raise ValueError(f'even_classes is {self.even_classes!r}; it must be True, False or "auto".')
        if self.even_classes and named:
            raise ValueError(f"even_classes is True, but class_weight {self.class_weight} says that the classes don't count alike; leave one of the two out.")
        return bool(self.even_classes)

    def _complete(self, part: TrainingPart, histories: list[list[dict[str, float]]]) -> None:
        """How much each half weighs."""
        for model in self.models_ if self.pretrained is not None else []:
            merge(model)
        left_out = self._left_out(part)
        self.weights_ = self._halves_weights(part, left_out)
        # Those that see everything predict, where there are such; the others have told what a network is worth.
        self.models_ = [model for model, rows in zip(self.models_, left_out, strict=True) if rows is None] or self.models_
        super()._complete(part, histories)

    def _halves_weights(self, part: TrainingPart, left_out: list[np.ndarray | None]) -> np.ndarray | None:
        """Of network and classical half: chosen on what each says of windows that it wasn't fitted on, where both do; else equal."""
        if self.classical_ is None:
            return None
        classical = getattr(self.classical_, "out_of_fold_", None)
        if classical is None or left_out[0] is None:
            return np.full(2, 0.5)
        log_probabilities = np.stack([self._network_out_of_fold(part, left_out), classical], axis=1)
        judged = np.isfinite(log_probabilities).all(axis=(1, 2))
        return blend_weights(log_probabilities[judged], part.targets[judged]) if judged.any() else np.full(2, 0.5)

    def _network_out_of_fold(self, part: TrainingPart, left_out: list[np.ndarray | None]) -> np.ndarray:
        """(windows, classes) log-probabilities, each by the network that didn't see the window; NaN where all did."""
        values, _ = part.standardised(self._dtype, self._device())
        log_probabilities = np.full((len(part.targets), len(self.classes_)), np.nan)
        for model, rows in zip(self.models_, left_out, strict=True):
            if rows is not None:
                said = np.exp(network_log_probabilities(model, values[torch.as_tensor(rows)]))
                log_probabilities[rows] = logarithms(said, LEAST_PROBABILITY)
        return log_probabilities

    def predict_proba(self, X: Any) -> np.ndarray:
        """(windows, classes): the weighted log-linear pool of both halves' probabilities, in the order of `classes_`."""
        return self.predict_parts(X)[""]

    def predict_parts(self, X: Any) -> dict[str, np.ndarray]:
        """ "" → the probabilities of the whole, and, where there is a classical half, "network" and "classical half" → those of each alone."""
        network = self._evened("network", super().predict_proba(X))
        if self.classical_ is None or self.weights_ is None:
            return {"": network}
        signals = read_input(self, X, None, reset=False)[0]
        if isinstance(self.classical_, Blend):
            said = for_even_classes(self.classical_.predict_log_proba(signals), self.class_shares_.get("classical half"))
            classical = told_apart(said)
        else:  # nothing has tempered its certainty
            classical = self._evened("classical half", self.classical_.predict_proba(signals))
            said = logarithms(classical, LEAST_PROBABILITY)
        blended = pooled(np.stack([logarithms(network), said], axis=1), self.weights_)
        return {"": told_apart(blended), "network": network, "classical half": classical}

    def _evened(self, half: str, probabilities: np.ndarray) -> np.ndarray:
        shares = self.class_shares_.get(half)
        return probabilities if shares is None else np.exp(for_even_classes(logarithms(probabilities), shares))

    def _fit_classical(self, part: TrainingPart) -> BaseEstimator | None:
        if self.classical is None:
            return None
        if isinstance(self.classical, str) and self.classical != "auto":
            raise ValueError(f'classical is {self.classical!r}; it must be "auto", None, or a classifier with predict_proba.')
        if isinstance(self.classical, str):
            blend = baselines.classical_blend(part.signals.shape[1], part.signals.shape[2], part.sampling_rate)
            return blend.fit(part.signals, part.targets, groups=part.groups)
        return fit_with_groups(clone(self.classical), part.signals, part.targets, part.groups)
