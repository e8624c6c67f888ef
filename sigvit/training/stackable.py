"""Which models one stack can hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from sigvit.model.linear import is_altered, is_plain
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.training.fine_tuning import LowRank

# What may differ between stacked models: it is drawn for each member.
RATES = ("dropout", "stochastic_depth")
# What training doesn't read.
UNREAD = ("training", "checkpointing", "scaling", "built")
# Whose modules can be mapped over models.
KNOWN = ("sigvit", "torch")


def can_stack(model: nn.Module) -> bool:
    """Whether the model's training has a stacked form that is exact.

    It has for a model without hooks, and without weights computed from others but those of `LowRank`, that brings one (`forward_stacked(signal, draw)`, of
    its class or of one that has the same `forward`; a network of ours only with the layers that it was built with), or that is a `VisionTransformer`, holds
    nobody else's modules, and has a tokenizer, positions and a head that neither draw at random nor change their buffers as they train. Of somebody else's
    nothing says that it can be mapped over models, nor that it masks no token.
    """
    if type(model) is not VisionTransformer:
        return _brings_its_own(model) and not any(is_altered(module) or _is_computed(module) for module in model.modules())
    parts = [module for part in (model.tokenizer, model.positions, model.representation, model.head) for module in part.modules()]
    draws = any(isinstance(module, _BatchNorm | _DropoutNd) or hasattr(module, "dropout") for module in parts)
    return not draws and all(map(_is_known, model.modules()))


def _brings_its_own(model: nn.Module) -> bool:
    """Whether its class has a stacked form, and no class below that one another `forward`."""
    kind, name = next((kind, name) for kind in type(model).__mro__ for name in ("forward_stacked", "forward") if name in vars(kind))
    return name == "forward_stacked" and (not _is_ours(kind) or _is_as_built(model))


def _is_as_built(model: nn.Module) -> bool:
    """Whether a network of ours has the layers that it was built with: its stacked form reads their weights and doesn't call them."""
    return repr(model) == getattr(model, "built", None) and all(_is_ours(type(layer)) for layer in model.children())


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in KNOWN


def _is_known(module: nn.Module) -> bool:
    """Whether stacked weights say all that the module computes: what it does is nobody else's, also where only its weights are used and it isn't called."""
    as_said = is_plain(module) if isinstance(module, nn.Linear) else not is_altered(module)
    return _is_ours(type(module)) and not _is_computed(module) and as_said


def _is_computed(module: nn.Module) -> bool:
    """Whether weights of it are computed from others, and not by `LowRank`."""
    computed = module.parametrizations.values() if parametrize.is_parametrized(module) else ()  # type: ignore[operator]
    return any(type(step) is not LowRank for steps in computed for step in steps)


def architecture(model: nn.Module) -> str:
    """A text that is equal for models that one stack can hold: types, shapes, and every plain setting but the rates of dropout."""
    told = [f"{name}:{type(module).__name__}{_settings(module)}" for name, module in model.named_modules()]
    shapes = [f"{name}:{tuple(tensor.shape)}{tensor.dtype}{tensor.device}" for name, tensor in model.state_dict().items()]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return "\n".join([*told, *shapes, *trained, *_shared(model)])


def _settings(module: nn.Module) -> str:
    plain = {name: _whole(value) for name, value in vars(module).items() if not name.startswith("_") and name not in (*RATES, *UNREAD)}
    if isinstance(module, VisionTransformer):
        plain["config"] = replace(module.config, dropout=0.0, stochastic_depth=0.0, checkpointing=False)
    return repr(sorted(plain.items()))


def _whole(value: Any) -> Any:
    """Arrays by all their numbers: their texts leave out the middle."""
    return value.tolist() if isinstance(value, np.ndarray | Tensor) else value


def statistics_of(model: nn.Module) -> set[str]:
    """Names of what BatchNorm counts and measures as it trains."""
    norms = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    return {name for name, _ in model.named_buffers() if name.rpartition(".")[0] in norms}


def _shared(model: nn.Module) -> list[str]:
    """The buffers of whole numbers, such as an order of electrodes, which all members must have in common."""
    statistics = statistics_of(model)
    return [f"{name}={buffer.tolist()}" for name, buffer in model.named_buffers() if not buffer.is_floating_point() and name not in statistics]
