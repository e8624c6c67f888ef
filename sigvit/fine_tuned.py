"""FineTuned: a network trained on other people or sessions, then on the first trials of the new one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor

from sigvit.data.windows import Windows, plain_rows
from sigvit.labels import plain_labels
from sigvit.network_classifier import NetworkClassifier, seed_of
from sigvit.network_input import read_input
from sigvit.training.fine_tuning import TRAINED, choose_trained, merge
from sigvit.training.member import Member, train_alone
from sigvit.training.randomness import derive_seed
from sigvit.training.settings import default_settings


class FineTuned(ClassifierMixin, BaseEstimator):
    """A network classifier fitted on the windows of others, whose networks then learn on from the few that calibrate.

    In folds of `sigvit.folds.calibrate`, `cross_validate` says which windows these are. Scaling, a classical half where there is one, and the classes' shares
    that `even_classes` divides out stay as the others' windows made them.

    Parameters
    ----------
    classifier : a network classifier, such as `SignalViTClassifier(classical=None)`; copied.
    trained : what learns on: "all", "head" (the rest is frozen) or "lora" (head and low-rank additions to the attention; `rank`).
    training_steps, learning_rate : of the second training; all else is as in the first, without warm-up and flips of hemispheres.

    Attributes
    ----------
    classifier_ : the fitted classifier. classes_, history_ : its own. tuning_history_ : of the second training, a history a network.
    n_parameters_ : of the network.

    Raises
    ------
    ValueError : all windows calibrate, so that nobody else's are left; a class that calibrates and that the others lack; a boolean column of another
        table; a label that is missing.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.estimators import SignalViTClassifier
    >>> windows = synthetic_windows(effect=3.0)
    >>> network = SignalViTClassifier(training_steps=20, width=8, heads=2, classical=None)
    >>> fitted = FineTuned(network, trained="head", training_steps=5).fit(windows, windows.labels, calibration=windows.metadata["subject"] == "03")
    >>> fitted.predict_proba(windows).shape
    (60, 2)
    """

    takes_windows = True

    def __init__(self, classifier: NetworkClassifier, trained: str = "all", training_steps: int = 200, learning_rate: float = 1e-3, rank: int = 4) -> None:
        self.classifier = classifier
        self.trained = trained
        self.training_steps = training_steps
        self.learning_rate = learning_rate
        self.rank = rank

    @default_settings()
    def fit(self, X: Any, y: Any, groups: Any = None, calibration: Any = None) -> Self:
        """Train on windows X (an array, `mne.Epochs` or `Windows`) and labels y; `calibration` (windows,) says which are the new one's, None that none are.

        A boolean column of the metadata of `Windows` is read by its index. `groups` (windows,) are handed to the first training.
        """
        if self.trained not in TRAINED:
            raise ValueError(f"trained is {self.trained!r}; it must be 'all', 'head' or 'lora'.")
        labels = plain_labels(y, "windows")
        check_consistent_length(X, labels, groups)
        calibration = np.zeros(len(labels), bool) if calibration is None else calibration
        own = np.asarray(plain_rows(calibration, X.metadata.index) if isinstance(X, Windows) else calibration, dtype=bool)
        if own.shape != labels.shape:
            raise ValueError(f"There are {len(labels)} windows, but calibration has the shape {own.shape}; give one truth value a window.")
        if own.all():
            raise ValueError(f"All {len(own)} windows calibrate; a network that learns on needs windows of others to begin with.")
        known = None if groups is None else np.asarray(groups)[~own]
        self.classifier_ = clone(self.classifier).fit(X[~own], labels[~own], groups=known)
        weights = self.classifier_._class_weights(self.classifier_._class_numbers(labels[~own]))
        self.classes_, self.history_, self.n_parameters_ = self.classifier_.classes_, self.classifier_.history_, self.classifier_.n_parameters_
        self.tuning_history_ = self._tune(X[own], labels[own], weights) if own.any() else []
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(windows, classes) probabilities, in the order of `classes_`."""
        check_is_fitted(self, "classifier_")
        return self.classifier_.predict_proba(X)

    def predict(self, X: Any) -> np.ndarray:
        """(windows,) the most probable class."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def _tune(self, X: Any, labels: np.ndarray, weights: Tensor | None) -> list[list[dict[str, float]]]:
        """Train each network on; what was added to it is merged, so that it is a plain network again."""
        fitted = self.classifier_
        values = fitted._standardise(read_input(fitted, X, None, reset=False)[0])
        targets = torch.as_tensor(fitted._class_numbers(labels), dtype=torch.int64, device=values.device)
        recipe = replace(
            fitted.recipe(len(labels)), steps=self.training_steps, learning_rate=self.learning_rate, warmup_steps=0, patience=0, hemisphere_flip=0.0
        )
        histories, drawn = [], seed_of(fitted.random_state)
        for number, model in enumerate(fitted.models_):
            seed = derive_seed(drawn, f"fine-tuning {number}")
            choose_trained(model, self.trained, self.rank, seed)
            name = f"fine-tuning, network {number}"
            member = Member(model, values, targets, recipe, seed, len(self.classes_), weights, name=name, sampling_rate=fitted.sampling_rate_)
            histories.append(train_alone(member))
            merge(model).eval()
        return histories
