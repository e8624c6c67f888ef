"""SignalViTClassifier: the Vision Transformer for recordings as a scikit-learn classifier, married to a classical half."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from torch import nn

from sigvit.evidence import baselines
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.linear_discriminant import inner_folds
from sigvit.evidence.metrics import window_log_loss
from sigvit.model.vision_transformer import signal_vit
from sigvit.network_classifier import NetworkClassifier
from sigvit.training.recipe import Recipe
from sigvit.training_part import TrainingPart

__all__ = ["FitJob", "SignalViTClassifier"]


class SignalViTClassifier(NetworkClassifier):
    """A Vision Transformer whose tokens are cut from electrodes × time, averaged in log-probability with a classical pipeline fitted on the same windows.

    The two err on different windows: docs/log.md has what each adds.

    Parameters
    ----------
    tokenizer : a module (windows, electrodes, samples) → `Tokens`; None cuts all electrodes × about a sixteenth of the window. A given
        one is copied with its weights, which every seed then starts from.
    width, depth, heads, mlp_width, pool, positions, dropout, stochastic_depth : of the encoder; see `sigvit.signal_vit`.
    epochs : passes over the training windows; None trains for `steps` optimiser steps whatever the number of windows.
    steps, batch_size, learning_rate, weight_decay, label_smoothing, ema_decay, time_shift, noise, mixup, dtype : see `sigvit.training.recipe.Recipe`.
    classical : None (the network alone), "auto" (of shrinkage LDA, tangent space and xDAWN + tangent space the one with the lowest log-loss on
        inner folds of the training windows), or any classifier of (windows, electrodes, samples) with `predict_proba`.
    early_stopping : hold out a validation part, or take the one given to `fit`, and return the weights with the lowest loss there, giving up
        after `patience` looks without a better one.
    class_weight : None, "balanced", or {class: weight} of the network's loss.
    device : "cpu", "cuda", or "auto". progress : show a bar with the time left while the network trains.
    random_state : seed of weights, order, dropout and augmentation. None draws one.

    Attributes
    ----------
    classes_ : sorted labels. model_ : the trained `VisionTransformer`. classical_ : the fitted classical half or None. history_ : the losses by step.
    n_parameters_ : of the network. selection_ : "validation" where a validation part chose the weights, else "none".

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> windows = synthetic_windows(effect=3.0)
    >>> classifier = SignalViTClassifier(steps=50, classical=None).fit(windows, windows.labels)
    >>> classifier.predict_proba(windows).shape
    (60, 2)
    """

    def __init__(
        self,
        tokenizer: nn.Module | None = None,
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        mlp_width: int = 64,
        pool: str = "mean",
        positions: str = "learned",
        dropout: float = 0.2,
        stochastic_depth: float = 0.0,
        epochs: int | None = None,
        steps: int = 1000,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        ema_decay: float = 0.99,
        time_shift: float = 0.1,
        noise: float = 0.0,
        mixup: float = 1.0,
        dtype: str = "float32",
        classical: str | BaseEstimator | None = "auto",
        early_stopping: bool = False,
        patience: int = 10,
        class_weight: str | dict | None = None,
        device: str = "cpu",
        progress: bool = False,
        random_state: int | None = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.width = width
        self.depth = depth
        self.heads = heads
        self.mlp_width = mlp_width
        self.pool = pool
        self.positions = positions
        self.dropout = dropout
        self.stochastic_depth = stochastic_depth
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.ema_decay = ema_decay
        self.time_shift = time_shift
        self.noise = noise
        self.mixup = mixup
        self.dtype = dtype
        self.classical = classical
        self.early_stopping = early_stopping
        self.patience = patience
        self.class_weight = class_weight
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def recipe(self, n_windows: int) -> Recipe:
        """The training recipe for so many windows; `epochs` becomes steps."""
        batches = max(1, n_windows // self.batch_size)
        return Recipe(
            steps=self.steps if self.epochs is None else self.epochs * batches,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            ema_decay=self.ema_decay,
            time_shift=self.time_shift,
            noise=self.noise,
            mixup=self.mixup,
            patience=self.patience if self.early_stopping else 0,
            dtype=self.dtype,
        )

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        return signal_vit(
            electrodes,
            n_times=n_times,
            num_classes=n_classes,
            tokenizer=copy.deepcopy(self.tokenizer),  # training must not change a parameter of the classifier
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_width=self.mlp_width,
            pool=self.pool,
            positions=self.positions,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
        )

    def _complete(self, part: TrainingPart, shared: dict) -> None:
        """The classical half; fits that ask for the same one on the same part share it."""
        asked = (id(part), repr(self.classical))
        if asked not in shared:
            shared[asked] = self._fit_classical(part)
        self.classical_ = shared[asked]

    def predict_proba(self, X: Any) -> np.ndarray:
        """(windows, classes): the normalised geometric mean of both halves' probabilities, in the order of `classes_`."""
        return self.predict_parts(X)[""]

    def predict_parts(self, X: Any) -> dict[str, np.ndarray]:
        """ "" → the probabilities of the whole, and, where there is a classical half, "network" and "classical half" → those of each alone."""
        network = super().predict_proba(X)
        if self.classical_ is None:
            return {"": network}
        classical = self.classical_.predict_proba(self._read(X, None, reset=False)[0])
        # Far below any probability that a few hundred windows support; keeps the logarithm finite.
        blended = np.sqrt(np.maximum(network, 1e-12) * np.maximum(classical, 1e-12))
        return {"": blended / blended.sum(1, keepdims=True), "network": network, "classical half": classical}

    def _fit_classical(self, part: TrainingPart) -> BaseEstimator | None:
        if self.classical is None:
            return None
        if isinstance(self.classical, str) and self.classical != "auto":
            raise ValueError(f'classical is {self.classical!r}; it must be "auto", None, or a classifier with predict_proba.')
        if isinstance(self.classical, str):
            return fit_best_classical(part)
        return clone(self.classical).fit(part.signals, part.targets)


def fit_best_classical(part: TrainingPart) -> BaseEstimator:
    """The classical pipeline with the lowest log-loss on inner folds of the training part (whole groups where there are several), fitted on all of it."""
    discriminant = baselines.shrinkage_lda().fit(part.signals, part.targets, groups=part.groups)
    folds = inner_folds(part.targets, part.groups)
    if not folds or not discriminant.log_loss_ or part.signals.shape[1] < 2:
        return discriminant
    others = [baselines.tangent_space(), baselines.xdawn_tangent_space()]
    losses = [_inner_log_loss(other, part, folds) for other in others]
    if min(discriminant.log_loss_.values()) <= min(losses):
        return discriminant
    return others[int(np.argmin(losses))].fit(part.signals, part.targets)


def _inner_log_loss(candidate: BaseEstimator, part: TrainingPart, folds: list[tuple[np.ndarray, np.ndarray]]) -> float:
    losses = []
    for train, judge in folds:
        fitted = clone(candidate).fit(part.signals[train], part.targets[train])
        losses.append(window_log_loss(part.targets[judge], fitted.predict_proba(part.signals[judge])))
    return float(np.concatenate(losses).mean())
