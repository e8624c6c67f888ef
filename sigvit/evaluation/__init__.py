"""What features are worth, what a model costs and what it learned: functions of arrays and models, with torch and numpy (figures: matplotlib, mne) alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sigvit.evaluation.attention import attention_distance, attention_rollout

__all__ = ["attention_distance", "attention_rollout"]


def __getattr__(name: str) -> Any:
    """Imported when first used: evidence draws scalps with this room's figures and lives without torch."""
    if name not in __all__:
        raise AttributeError(f"sigvit.evaluation has no {name!r}; functions stand in its modules, such as sigvit.evaluation.attribution.")
    return getattr(import_module("sigvit.evaluation.attention"), name)
