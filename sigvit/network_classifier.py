"""What every network classifier shares: reading input, scaling inside the fit, early stopping, prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from rich.progress import Progress
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor, nn

from sigvit.class_shares import class_weights
from sigvit.data.windows import Windows
from sigvit.evidence.fit_job import FitJob, named
from sigvit.evidence.silence import alike
from sigvit.fit_blocks import blocks, prepare_all
from sigvit.halves import Fitting, Halves
from sigvit.model.random_state import borrowed_random_state
from sigvit.model.scaling import Scaling
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.network_input import read_input
from sigvit.training.many import Member, Snapshots, train_many
from sigvit.training.measured import NotFiniteError
from sigvit.training.member import train_alone
from sigvit.training.mirror import Mirror
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe
from sigvit.training.settings import default_settings, exact_convolutions
from sigvit.training_part import TrainingPart, hold_out, join

SWITCHES = {"early_stopping", "ensemble", "progress"}  # where a word, such as "no", would be true
AT_ONCE = 256  # windows that are predicted together


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """Base of the network classifiers; a subclass has the methods `recipe(n_windows)` and `build(electrodes, n_times, n_classes)`.

    Signals are standardised by each electrode's mean and deviation over the training windows, never by the window's own, which would erase power.
    """

    takes_windows = True
    label_map: Mapping[Any, Any] | None = None  # classifiers that don't take it, and pickles of before, which lack it

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

    @default_settings()
    def fit(self, X: Any, y: Any = None, groups: Any = None, validation: tuple[Any, Any] | None = None) -> NetworkClassifier:
        """Train on windows X and labels y.

        Parameters
        ----------
        X : float (windows, electrodes, samples) in volts; a 2-D array is one electrode; `mne.Epochs`, `Windows` and braindecode's
            windows (as `sigvit.windows_from_braindecode` reads them) bring their electrodes along.
        y : (windows,) labels; left out, those that X brings along are taken.
        groups : (windows,) subjects or runs; early stopping without `validation` holds out whole groups.
        validation : (X, y) that chooses the weights when `early_stopping` is on; otherwise it is trained on as well.

        Raises
        ------
        ValueError : a label that is missing, fewer than two classes, windows that are all the same, other shapes than fitted on, NaN or infinity, bad
            channels of Epochs; a device that isn't here.
        """
        part = self._prepare(X, y, groups, validation)
        self._begin(part, Halves())
        self._complete(part, self._train(self._members(part)))
        return self

    @default_settings()
    def fit_many(self, windows: Windows, jobs: Iterable[FitJob], folder: str | Path | None = None, processes: int | None = None) -> list[Self]:
        """One fitted classifier a job, each equal to `fit` on the job's rows with its seed; networks of one architecture are trained at once.

        Parameters
        ----------
        windows : of which each job says its rows; no job sees another's.
        folder : where the trainings keep their state about once a minute, beside what else they are made of (classical halves that are ours), and from where
            they go on after a kill; every job needs a key then. Nobody else should write there: the halves are pickled.
        processes : at most so many train and fit classical halves; None: as many train as torch has threads.

        Raises
        ------
        ValueError : as for `fit`, rows that the windows don't have, a parameter that doesn't exist, each with the job's name; where a training's numbers are
            no longer finite, the others are ended first.
        BlockingIOError : another process trains the same jobs into the folder.
        """
        jobs = list(jobs)
        strangers = [type(job).__name__ for job in jobs if not isinstance(job, FitJob)]
        if strangers:
            raise ValueError(f"fit_many takes jobs, sigvit.FitJob(train, validation, seed), but here is {strangers[0]}.")
        fitted = [self._copy_for(job, len(windows)) for job in jobs]
        faults: list[str] = []
        trainings = 0
        with nullcontext() if folder is None else Snapshots(folder) as snapshots:
            for block in blocks(windows, jobs):
                with _told_beside(faults):
                    told, count = self._fit_block(windows, [(fitted[number], jobs[number]) for number in block], snapshots, folder, processes)
                    faults += told
                    trainings += count
        if faults:
            raise NotFiniteError.of_several(faults, trainings)
        return fitted

    def _fit_block(
        self, windows: Windows, fits: list[tuple[Self, FitJob]], snapshots: Snapshots | None, folder: str | Path | None, processes: int | None
    ) -> tuple[Sequence[str], int]:
        """Fit these at once; what is told of trainings that came to no end, and of how many. Its windows are gone before there are those of the next block."""
        parts = prepare_all(windows, fits)
        halves = Halves(None if folder is None else Path(folder) / "halves")
        members = _begun([(*fit, part) for fit, part in zip(fits, parts, strict=True)], halves, processes or 1)
        asked = [member for several in members for member in several]
        try:
            histories = iter(self._train(asked, snapshots, processes))
        except NotFiniteError as error:
            return error.faults or [str(error)], len(asked)  # the text alone: the error holds the block's windows
        for (classifier, _), part, several in zip(fits, parts, members, strict=True):
            classifier._complete(part, [next(histories) for _ in several])
        return [], len(asked)

    def _copy_for(self, job: FitJob, n_windows: int) -> Self:
        with named(job.name):
            job.require_rows(n_windows)
            return clone(self).set_params(**{"random_state": job.seed, **job.parameters})  # a search may be over seeds

    def predict_proba(self, X: Any) -> np.ndarray:
        """(windows, classes) probabilities, in the order of `classes_`."""
        check_is_fitted(self, "model_")
        signals, _, _ = read_input(self, X, None, reset=False)
        parts = (self._standardise(signals[first : first + AT_ONCE]) for first in range(0, len(signals), AT_ONCE))
        log_probabilities = np.concatenate([[network_log_probabilities(model, values) for model in self.models_] for values in parts], axis=1)
        return softmax(np.mean(log_probabilities, axis=0), axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """(windows,) the most probable class."""
        most_probable = self.predict_proba(X).argmax(1)
        return self.classes_[most_probable]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _prepare(self, X: Any, y: Any, groups: Any, validation: tuple[Any, Any] | None) -> TrainingPart:
        for name in SWITCHES & set(self.get_params(deep=False)):
            if getattr(self, name) not in (True, False):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be True or False.")
        self._device()
        signals, electrodes, y = read_input(self, X, y, reset=True)
        check_classification_targets(y)
        check_consistent_length(signals, y, groups)
        self.classes_, targets = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Only one class is here ({self.classes_[0]!r}); a classifier needs at least two classes to tell apart.")
        if signals.size and alike(signals):
            raise ValueError(f"All {len(signals)} training windows hold the same numbers, as those of a dead recording do; nothing can be learned from them.")
        part = TrainingPart(signals, targets, None if groups is None else np.asarray(groups), None, electrodes)
        if validation is not None:
            extra, _, extra_y = read_input(self, validation[0], validation[1], reset=False)
            check_consistent_length(extra, extra_y)
            part.held_out = (extra, self._class_numbers(extra_y))
        if self.early_stopping and part.held_out is None:
            return hold_out(part, derive_seed(seed_of(self.random_state), "hold out"))
        return part if self.early_stopping or part.held_out is None else join(part)

    def _class_numbers(self, y: Any) -> np.ndarray:
        unknown = set(np.unique(y).tolist()) - set(self.classes_.tolist())
        if unknown:
            raise ValueError(
                f"The validation part holds the classes {sorted(unknown)}, which the training part lacks; training knows {self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y)

    def _train(self, members: Sequence[Member], snapshots: Snapshots | None = None, processes: int | None = None) -> list[list[dict[str, float]]]:
        with _progress(self.progress, sum(member.recipe.steps for member in members)) as on_step:
            if len(members) == 1 and snapshots is None:
                with named(members[0].name):
                    return [train_alone(members[0], on_step=on_step)]
            return train_many(members, snapshots=snapshots, on_step=on_step, processes=processes)

    def _members(self, part: TrainingPart, name: str = "", key: str = "") -> list[Member]:
        """The trainings of this classifier on this part, with everything but the history set that a fit leaves behind."""
        seed, left_out = seed_of(self.random_state), self._left_out(part)
        self.center_, self.scale_ = part.scaling.mean, part.scaling.deviation
        self.selection_ = "none" if part.held_out is None else "validation"
        self._dtype = torch.float64 if self.recipe(len(part.signals)).dtype == "float64" else torch.float32
        members = [
            self._member(part, rows, _member_seed(seed, k), f"{name}, network {k}" if k else name, f"{key}-{k}" if k and key else key)
            for k, rows in enumerate(left_out)
        ]
        self.models_ = [member.model for member in members]
        return members

    def _left_out(self, part: TrainingPart) -> list[np.ndarray | None]:
        """Rows of the part that each network doesn't see; None for a network that sees all."""
        return [None]

    def _member(self, part: TrainingPart, left_out: np.ndarray | None, seed: int, name: str, key: str) -> Member:
        rows = None if left_out is None else np.setdiff1d(np.arange(len(part.signals)), left_out)
        recipe = self.recipe(len(part.signals) if rows is None else len(rows))
        with borrowed_random_state():
            torch.default_generator.manual_seed(derive_seed(seed, "initial weights"))  # a GPU's numbers, of which none are drawn, stay the caller's
            model = self.build(part.electrodes, part.signals.shape[2], len(self.classes_)).to(self._device(), self._dtype)
        if isinstance(model, VisionTransformer):
            model.scaling = part.scaling
        values, held_out = part.standardised(self._dtype, self._device())
        self._set_reference(model, values if rows is None else values[rows])
        targets, weights = self._on_device(part.targets), self._class_weights(part.targets)
        validation = None if held_out is None or part.held_out is None else (held_out, self._on_device(part.held_out[1]))
        chosen = None if rows is None else torch.as_tensor(rows)
        mirror = self._mirror(part, recipe)
        return Member(model, values, targets, recipe, seed, len(self.classes_), weights, validation, name, key, part.sampling_rate, mirror, chosen)

    def _set_reference(self, model: nn.Module, values: Tensor) -> None:
        """A tokenizer that measures something from signals before training, as covariance tokens their reference, does so on the training windows."""
        measure = getattr(getattr(model, "tokenizer", None), "set_reference", None)
        if measure is not None:
            measure(values)

    def _mirror(self, part: TrainingPart, recipe: Recipe) -> Mirror | None:
        """Who changes places where hemispheres are flipped: only named electrodes can say it."""
        flips = recipe.hemisphere_flip > 0 and not isinstance(part.electrodes, int)
        return Mirror.from_names(part.electrodes["ch_names"], self.classes_.tolist(), self.label_map) if flips else None

    def _shared_half(self) -> Fitting | None:
        """How the half is fitted that fits on the same part have in common; None where there is none."""
        return None

    def _begin(self, part: TrainingPart, halves: Halves) -> None:
        """What a fit does before its networks are built; `halves` are those that fits on the same part have in common."""

    def _complete(self, part: TrainingPart, histories: list[list[dict[str, float]]]) -> None:
        """What a fit does behind the training of its networks."""
        self.history_ = mean_history(histories)
        self.model_ = self.models_[0]
        self.n_parameters_ = sum(parameter.numel() for model in self.models_ for parameter in model.parameters())

    def _standardise(self, signals: np.ndarray) -> Tensor:
        """Each electrode less its training mean, by its training deviation; (windows, electrodes, samples) on the device."""
        return Scaling(self.center_, self.scale_)(signals, self._dtype, self._device())

    def _on_device(self, targets: np.ndarray) -> Tensor:
        return torch.as_tensor(targets, dtype=torch.int64, device=self._device())

    def _class_weights(self, targets: np.ndarray) -> Tensor | None:
        weights = class_weights(self.class_weight, targets, self.classes_.tolist())
        return None if weights is None else torch.as_tensor(weights, dtype=self._dtype, device=self._device())

    def _device(self) -> torch.device:
        return device_of(self.device)


def _begun(fits: Sequence[tuple[NetworkClassifier, FitJob, TrainingPart]], halves: Halves, processes: int) -> list[list[Member]]:
    """The trainings of each fit, behind the halves that they have in common."""
    halves.ahead([(job.name, part, fit) for classifier, job, part in fits if (fit := classifier._shared_half()) is not None], processes)
    members = []
    for classifier, job, part in fits:
        with named(job.name):
            classifier._begin(part, halves)
            members.append(classifier._members(part, job.name, job.key))
    return members


@contextmanager
def _told_beside(faults: Sequence[str]) -> Iterator[None]:
    """An error of another kind tells in notes of the trainings before it that came to no end."""
    try:
        yield
    except Exception as error:
        for fault in faults:
            error.add_note(fault)
        raise


def device_of(name: Any) -> torch.device:
    """What a parameter says; "auto" is a GPU where there is one. ValueError: torch knows no such device, or it isn't here."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        return torch.empty(0, device=device).cpu().to(device).device  # "meta" has no numbers to give back
    except (AssertionError, RuntimeError, TypeError, ImportError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f'device is {name!r}; it must be "cpu", "auto" or, where there is a GPU, "cuda" (torch says: {reason}).') from None


@exact_convolutions()
def network_log_probabilities(model: nn.Module, values: Tensor) -> np.ndarray:
    """(windows, classes) float64, of standardised windows."""
    with torch.no_grad():
        return torch.cat([model(part).double().log_softmax(1) for part in values.split(AT_ONCE)]).cpu().numpy()


def mean_history(histories: Sequence[list[dict[str, float]]]) -> list[dict[str, float]]:
    """One history of several networks: the mean of each number at each step over those that have an entry there.

    >>> mean_history([[{"step": 5, "train_loss": 1.0}, {"step": 10, "train_loss": 0.5}], [{"step": 5, "train_loss": 3.0}, {"step": 7, "train_loss": 2.0}]])
    [{'step': 5, 'train_loss': 2.0}, {'step': 7, 'train_loss': 2.0}, {'step': 10, 'train_loss': 0.5}]
    """
    by_step: dict[float, list[dict[str, float]]] = {}
    for entry in chain.from_iterable(histories):
        by_step.setdefault(entry["step"], []).append(entry)
    return [found[0] | {name: float(np.mean([entry[name] for entry in found])) for name in found[0] if name != "step"} for _, found in sorted(by_step.items())]


def _member_seed(seed: int, number: int) -> int:
    """The first network's is the classifier's own."""
    return derive_seed(seed, f"network {number}") if number else seed


@contextmanager
def _progress(show: bool, steps: int) -> Iterator[Callable[[int], None] | None]:
    """A bar with the time left, moved by calling what this gives with the number of steps done; None where nothing is shown."""
    if not show:
        yield None
        return
    with Progress() as bar:
        task = bar.add_task("training", total=steps)
        yield lambda step: bar.update(task, completed=step)


def seed_of(random_state: Any) -> int:
    """A whole number stays; None draws one; a RandomState gives its next."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(np.random.default_rng().integers(2**31)) if random_state is None else int(random_state)
