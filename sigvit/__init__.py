"""sigvit: a recording is an image whose rows are electrodes and whose columns are time; one Vision Transformer reads both.

Every public name is imported when it is first used (PEP 562), so that `import sigvit` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sigvit.data.braindecode import windows_from_braindecode
    from sigvit.data.pages import open_dataset
    from sigvit.data.recordings import read_recording, windows_from_arrays, windows_from_epochs, windows_from_raw
    from sigvit.data.windows import Windows
    from sigvit.estimators import SignalViTClassifier
    from sigvit.evaluation.few_shot import few_shot
    from sigvit.evidence import baselines, folds
    from sigvit.evidence.alignment import Alignment
    from sigvit.evidence.certificate import Certificate, Leak, certify
    from sigvit.evidence.cross_validation import Results, cross_validate
    from sigvit.evidence.fit_job import FitJob
    from sigvit.evidence.folds import Fold
    from sigvit.evidence.grid_search import GridSearch
    from sigvit.evidence.optuna_search import OptunaSearch
    from sigvit.fine_tuned import FineTuned
    from sigvit.grid import Axis, Grid
    from sigvit.mixed_classifier import MixedRecordingClassifier
    from sigvit.model.adapt import adapt
    from sigvit.model.resize import resize_positions
    from sigvit.model.vision_transformer import VisionTransformer, signal_vit, vit
    from sigvit.tokenizers.image_batch import collate_images
    from sigvit.tokenizers.recording_batch import collate_windows
    from sigvit.tokens import Tokens
    from sigvit.weights.load import load_weights

__version__ = "0.1.0"

_HOMES = {
    "Axis": "sigvit.grid",
    "Grid": "sigvit.grid",
    "Tokens": "sigvit.tokens",
    "VisionTransformer": "sigvit.model.vision_transformer",
    "vit": "sigvit.model.vision_transformer",
    "signal_vit": "sigvit.model.vision_transformer",
    "resize_positions": "sigvit.model.resize",
    "adapt": "sigvit.model.adapt",
    "collate_images": "sigvit.tokenizers.image_batch",
    "collate_windows": "sigvit.tokenizers.recording_batch",
    "load_weights": "sigvit.weights.load",
    "few_shot": "sigvit.evaluation.few_shot",
    "Windows": "sigvit.data.windows",
    "open_dataset": "sigvit.data.pages",
    "windows_from_raw": "sigvit.data.recordings",
    "windows_from_epochs": "sigvit.data.recordings",
    "windows_from_arrays": "sigvit.data.recordings",
    "windows_from_braindecode": "sigvit.data.braindecode",
    "read_recording": "sigvit.data.recordings",
    "Fold": "sigvit.evidence.folds",
    "FitJob": "sigvit.evidence.fit_job",
    "folds": "sigvit.evidence.folds",
    "baselines": "sigvit.evidence.baselines",
    "Certificate": "sigvit.evidence.certificate",
    "Leak": "sigvit.evidence.certificate",
    "certify": "sigvit.evidence.certificate",
    "Results": "sigvit.evidence.cross_validation",
    "cross_validate": "sigvit.evidence.cross_validation",
    "SignalViTClassifier": "sigvit.estimators",
    "FineTuned": "sigvit.fine_tuned",
    "MixedRecordingClassifier": "sigvit.mixed_classifier",
    "GridSearch": "sigvit.evidence.grid_search",
    "OptunaSearch": "sigvit.evidence.optuna_search",
    "Alignment": "sigvit.evidence.alignment",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"sigvit has no {name!r}; it has {', '.join(sorted(_HOMES))}.")
    home = import_module(_HOMES[name])
    found = home if name in ("folds", "baselines") else getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
