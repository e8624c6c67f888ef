"""What every network classifier shares: reading input, scaling inside the fit, early stopping, prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from rich.progress import Progress
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from sigvit.data.windows import Windows
from sigvit.evidence.fit_job import FitJob
from sigvit.training.many import Member, Snapshots, train_many
from sigvit.training.member import train_alone
from sigvit.training.mirror import Mirror
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe
from sigvit.training_part import TrainingPart, hold_out, join

# Copies of the windows that trainings at once may hold; each number is there as read and as scaled.
BLOCK_BYTES = 4 * 2**30
COPY_BYTES = 8
# Attributes that reading the input sets.
READ = ("classes_", "signal_shape_", "n_features_in_")


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
        part = self._prepare(X, y, groups, validation)
        self._train(part)
        self._complete(part, {})
        return self

    def fit_many(self, windows: Windows, jobs: Sequence[FitJob], folder: str | Path | None = None) -> list[Self]:
        """One fitted classifier a job, each equal to `fit` on the job's rows with its seed; networks of one architecture are trained at once.

        Parameters
        ----------
        windows : of which each job says its rows; no job sees another's.
        folder : where the trainings keep their state about once a minute, and from where they go on after a kill; every job needs a key then.

        Raises
        ------
        ValueError : as for `fit`, with the job's name; the other trainings are ended first.
        """
        fitted = [clone(self).set_params(random_state=job.seed, **job.parameters) for job in jobs]
        snapshots = None if folder is None else Snapshots(folder)
        for block in _blocks(windows, jobs):
            parts = _prepare_all(windows, [(fitted[number], jobs[number]) for number in block])
            members = [fitted[number]._member(part, jobs[number].name, jobs[number].key) for number, part in zip(block, parts, strict=True)]
            with _progress(self.progress, sum(member.recipe.steps for member in members)) as on_step:
                histories = train_many(members, snapshots=snapshots, on_step=on_step)
            shared: dict = {}
            for number, part, history in zip(block, parts, histories, strict=True):
                fitted[number].history_ = history
                fitted[number]._complete(part, shared)
        return fitted

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
            return hold_out(part, derive_seed(_seed(self.random_state), "hold out"))
        return part if self.early_stopping or part.held_out is None else join(part)

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
        member = self._member(part)
        with _progress(self.progress, member.recipe.steps) as on_step:
            self.history_ = train_alone(member, on_step=on_step)

    def _member(self, part: TrainingPart, name: str = "", key: str = "") -> Member:
        """The training of this classifier on this part, with everything but the history set that a fit leaves behind."""
        seed = _seed(self.random_state)
        self.center_, self.scale_ = part.center, part.scale
        self.selection_ = "none" if part.held_out is None else "validation"
        recipe = self.recipe(len(part.signals))
        self._dtype = torch.float64 if recipe.dtype == "float64" else torch.float32
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "initial weights"))
            model = self.build(part.electrodes, part.signals.shape[2], len(self.classes_))
        self.model_ = model.to(self._device(), self._dtype)
        self.n_parameters_ = sum(parameter.numel() for parameter in model.parameters())
        values, held_out = part.standardised(self._standardise, (self._dtype, self._device()))
        _set_reference(model, values)
        targets, weights = self._on_device(part.targets), self._class_weights(part.targets)
        validation = None if held_out is None or part.held_out is None else (held_out, self._on_device(part.held_out[1]))
        sampling_rate = None if isinstance(part.electrodes, int) else float(part.electrodes["sfreq"])
        return Member(self.model_, values, targets, recipe, seed, len(self.classes_), weights, validation, name, key, sampling_rate, self._mirror(part, recipe))

    def _mirror(self, part: TrainingPart, recipe: Recipe) -> Mirror | None:
        """Who changes places where hemispheres are flipped: only named electrodes can say it."""
        named = recipe.hemisphere_flip > 0 and not isinstance(part.electrodes, int)
        return Mirror.from_names(part.electrodes["ch_names"], self.classes_.tolist()) if named else None

    def _complete(self, part: TrainingPart, shared: dict) -> None:
        """What a fit does besides the network; `shared` holds what fits on the same part have in common."""

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


def _set_reference(model: nn.Module, values: Tensor) -> None:
    """A tokenizer that measures something from signals before training, as covariance tokens their reference, does so on the training windows."""
    measure = getattr(getattr(model, "tokenizer", None), "set_reference", None)
    if measure is not None:
        measure(values)


@contextmanager
def _progress(show: bool, steps: int) -> Iterator[Callable[[int], None] | None]:
    """A bar with the time left, moved by calling what this gives with the number of steps done; None where nothing is shown."""
    if not show:
        yield None
        return
    with Progress() as bar:
        task = bar.add_task("training", total=steps)
        yield lambda step: bar.update(task, completed=step)


def _blocks(windows: Windows, jobs: Sequence[FitJob]) -> list[list[int]]:
    """Numbers of jobs whose rows, copied and scaled, fit into memory together; seeds that share their rows share the copy."""
    blocks: list[list[int]] = []
    room, copied = 0, set[tuple]()
    for number, job in enumerate(jobs):
        asked = _asked(job)
        size = 0 if asked in copied else (len(job.train) + len(job.validation)) * windows.values[0].size * COPY_BYTES
        if not blocks or size > room:
            blocks.append([])
            room, copied = BLOCK_BYTES, set()
        blocks[-1].append(number)
        room, copied = room - size, copied | {asked}
    return blocks


def _prepare_all(windows: Windows, asked: list[tuple[NetworkClassifier, FitJob]]) -> list[TrainingPart]:
    """What each fit sees. Fits on the same rows see one part, unless chance chooses what each holds out."""
    found: dict[tuple, tuple[NetworkClassifier, TrainingPart]] = {}
    parts = []
    for classifier, job in asked:
        by_chance = classifier.early_stopping and not len(job.validation)
        same = (*_asked(job), classifier.early_stopping, id(classifier) if by_chance else None)
        if same in found:
            for name in READ:
                setattr(classifier, name, getattr(found[same][0], name))
        else:
            held_out = windows[job.validation] if len(job.validation) else None
            found[same] = classifier, classifier._prepare(windows[job.train], None, job.groups, None if held_out is None else (held_out, None))
        parts.append(found[same][1])
    return parts


def _asked(job: FitJob) -> tuple:
    return job.train.tobytes(), job.validation.tobytes(), None if job.groups is None else tuple(map(str, job.groups))


def _seed(random_state: Any) -> int:
    """A whole number stays; None draws one; a RandomState gives its next."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(np.random.default_rng().integers(2**31)) if random_state is None else int(random_state)


def _epoch_labels(epochs: Any) -> np.ndarray:
    """Names of the events of `mne.Epochs`."""
    names = {code: name for name, code in epochs.event_id.items()}
    return np.array([names[code] for code in epochs.events[:, 2]])
