"""K models of one architecture as one: their weights along a leading axis, their arithmetic in batched products."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from sigvit.model.attention import Rotate
from sigvit.model.dropout import Draw, dropout
from sigvit.model.encoder import Block, Encoder, Mlp
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.products import linear
from sigvit.tokens import Tokens
from sigvit.training.mapped_convolutions import MappedConvolutions
from sigvit.training.optimizer import EMBEDDING, undecayed_names
from sigvit.training.stackable import RATES, architecture, can_stack, statistics_of

# K = models, N = trainable numbers of one model, B = batch, T = tokens, D = width, C = classes

EMBEDDING_RATE = "dropout of the embedding"
# Numbers of float32 in a cache line.
ALIGNMENT = 16


class Stack:
    """K models of one architecture whose trainable weights are the rows of one matrix.

    Parameters
    ----------
    models : copied; `write` gives a row back. Dropout and stochastic depth may differ between them.

    Attributes
    ----------
    weights : (K, N); the first `n_decayed` columns are the parameters that weight decay shrinks. Gaps between parameters are zeros and stay so.

    Raises
    ------
    ValueError : no models, models of several architectures, or one that has no stacked form (see `can_stack`).

    >>> import sigvit
    >>> models = [sigvit.signal_vit(3, n_times=80) for _ in range(2)]
    >>> stack = Stack(models)
    >>> signal = torch.randn(2, 5, 3, 80)
    >>> torch.allclose(stack.logits(signal)[1], models[1](signal[1]), atol=1e-6)
    True
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        kinds = {architecture(model) for model in models}
        if len(kinds) != 1:
            raise ValueError(f"These {len(models)} models have {len(kinds)} architectures; a stack holds models of exactly one.")
        if not all(map(can_stack, models)):
            raise ValueError(f"{type(models[0]).__name__} has no stacked form; train such models one after the other.")
        self.module = _skeleton(models[0])
        spared = undecayed_names(models[0])
        trained = {name: parameter for name, parameter in models[0].named_parameters() if parameter.requires_grad}
        ordered = sorted(trained, key=lambda name: name in spared)
        self.shapes = {name: trained[name].shape for name in ordered}
        ends = list(accumulate(_aligned(trained[name].numel()) for name in ordered))
        self.columns = {name: slice(end - _aligned(shape.numel()), end) for (name, shape), end in zip(self.shapes.items(), ends, strict=True)}
        self.n_decayed = sum(_aligned(trained[name].numel()) for name in ordered if name not in spared)
        self.weights = torch.stack([self.row(model) for model in models])
        self.state = {name: torch.stack([model.state_dict()[name] for model in models]) for name in _kept_apart(models[0])}
        self.rates = [_rates(model) for model in models]
        self._bind()

    def __len__(self) -> int:
        return len(self.weights)

    def row(self, model: nn.Module) -> Tensor:
        """A model's trainable weights in the order of the columns, (N,)."""
        parameters = dict(model.named_parameters())
        flat = {name: parameters[name].detach().flatten() for name in self.shapes}
        return torch.cat([functional.pad(weights, (0, _aligned(len(weights)) - len(weights))) for weights in flat.values()])

    def scatter(self, gradients: Sequence[Tensor | None], matrix: Tensor) -> list[Tensor]:
        """Write gradients of `parameters()` into the columns of a matrix like `weights`; zeros where the loss doesn't ask for a parameter.

        Returns the weights of those, which an optimiser for one model leaves alone: they don't even decay.
        """
        for part, gradient in zip(self._views(matrix).values(), gradients, strict=True):
            part.copy_(gradient) if gradient is not None else part.zero_()
        return [part for part, gradient in zip(self._views(self.weights).values(), gradients, strict=True) if gradient is None]

    def parameters(self) -> list[nn.Parameter]:
        """The stacked parameters, (K, …) each, in the order of the columns; views of `weights`."""
        return [self._parameters[name] for name in self.shapes]

    def select(self, members: Sequence[int]) -> None:
        """Keep these members, in this order."""
        at = torch.as_tensor(members, device=self.weights.device)
        self.weights = self.weights[at]
        self.state = {name: tensor[at] for name, tensor in self.state.items()}
        self.rates = [self.rates[member] for member in members]
        self._bind()

    def join(self, other: Stack) -> None:
        """Append the members of another stack of the same architecture."""
        self.weights = torch.cat([self.weights, other.weights])
        self.state = {name: torch.cat([tensor, other.state[name]]) for name, tensor in self.state.items()}
        self.rates += other.rates
        self._bind()

    def write(self, model: nn.Module, weights: Tensor, state: dict[str, Tensor]) -> None:
        """Put a member's weights (N,) and the rest of its state into a model of its own."""
        parts = {name: part[0] for name, part in self._views(weights[None]).items()}
        model.load_state_dict(parts | state, strict=False)

    @contextmanager
    def using(self, weights: Tensor, members: Sequence[int]) -> Iterator[None]:
        """Evaluate these members alone, with weights out of another matrix, (K, N), such as their moving averages; no dropout."""
        own = self.weights, self.state
        at = slice(None) if list(members) == list(range(len(self))) else torch.as_tensor(members, device=weights.device)  # of all no copy
        self.weights, self.state = weights[at], {name: tensor[at] for name, tensor in self.state.items()}
        self._bind()
        self.module.eval()
        try:
            yield
        finally:
            self.weights, self.state = own
            self._bind()
            self.module.train()

    def logits(self, signal: Tensor, draw: Draw | None = None) -> Tensor:
        """(K, B, …) → (K, B, C): member k's logits of signal k. `draw` gives the factors of dropout, as `sigvit.model.dropout.dropout` takes them."""
        if type(self.module) is not VisionTransformer:
            return self.module.forward_stacked(signal, draw)  # type: ignore[operator]  # what can_stack asked for
        values, special, rotate = self._placed(signal)
        values = dropout(values, self.embedding_rate, self.module.training, draw)
        encoded = self.module.encoder(values, None, self.module.pool.outputs(special), draw, rotate)
        return _applied(self.module.head, _applied(self.module.representation, self.module.pool(encoded)))

    def _placed(self, signal: Tensor) -> tuple[Tensor, tuple[str, ...], Rotate | None]:
        """(K, B, …) → (K, B, T, D), names of the special tokens, what attention turns by. Whatever the tokenizer, member by member, but in batched kernels."""
        assert isinstance(self.module, VisionTransformer)
        shell = _Embedding(self.module)
        own = {f"model.{name}": tensor for name, tensor in self._tensors().items() if name.startswith(EMBEDDING)}
        said: list[tuple[tuple[str, ...], Rotate | None]] = []

        def place(tensors: dict[str, Tensor], signal: Tensor) -> Tensor:
            tokens = functional_call(shell, tensors, (signal,))
            said.append((tokens.special, shell.model.rotation(tokens)))  # nothing of it depends on weights or signal
            return tokens.values

        # Without positions and with a tokenizer that learns nothing there is nothing to map over but the signal.
        with MappedConvolutions():
            return vmap(place, in_dims=(0 if own else None, 0))(own, signal), *said[0]

    def _tensors(self) -> dict[str, Tensor]:
        return self._parameters | self.state

    def _views(self, matrix: Tensor) -> dict[str, Tensor]:
        """The columns of a matrix like `weights` as tensors of the parameters' shapes, (K, …)."""
        return {name: matrix[:, self.columns[name]][:, : shape.numel()].view(len(matrix), *shape) for name, shape in self.shapes.items()}

    def _bind(self) -> None:
        """Make the stacked tensors the module's own: every parameter a view of its columns."""
        self._parameters = {name: nn.Parameter(view) for name, view in self._views(self.weights).items()}
        for name, tensor in self._tensors().items():
            path, _, last = name.rpartition(".")
            owner = self.module.get_submodule(path)
            held: dict[str, Any] = owner._parameters if last in owner._parameters else owner._buffers
            held[last] = tensor
        for name in self.rates[0].keys() - {EMBEDDING_RATE}:
            path, _, last = name.rpartition(".")
            setattr(self.module.get_submodule(path), last, _one([rates[name] for rates in self.rates]))
        self.embedding_rate = _one([rates.get(EMBEDDING_RATE, 0.0) for rates in self.rates])


class _Embedding(nn.Module):
    """A model's embedding before dropout, as a module that can be called with other tensors."""

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor) -> Tokens:
        return self.model.placed(self.model.cut(signal))


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy whose tensors the stack replaces; memory is no concern of models that are stacked."""
    module = copy.deepcopy(model).train()
    for part in module.modules():
        if isinstance(part, Encoder):
            part.checkpointing = False
    return module


def _kept_apart(model: nn.Module) -> list[str]:
    """Names of the other tensors that each member needs its own of: frozen parameters, statistics of BatchNorm, buffers of real numbers."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    buffers = {name for name, buffer in model.named_buffers() if buffer.is_floating_point()} | statistics_of(model)
    return [name for name in model.state_dict() if name in frozen | buffers]


def _aligned(count: int) -> int:
    """As many columns as begin the next parameter at a full cache line: faster, and the same bits wherever in the matrix a row stands."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def _rates(model: nn.Module) -> dict[str, float]:
    """Every rate of dropout and stochastic depth, by the module that applies it; the embedding's is the model's own."""
    embedding = {EMBEDDING_RATE: model.config.dropout} if isinstance(model, VisionTransformer) else {}
    return embedding | {
        f"{name}.{rate}": float(getattr(module, rate))
        for name, module in model.named_modules()
        if isinstance(module, Block | Mlp)
        for rate in RATES
        if hasattr(module, rate)
    }


def _one(rates: list[float]) -> float | tuple[float, ...]:
    """One rate where all agree, else one each."""
    return rates[0] if len(set(rates)) == 1 else tuple(rates)


def _applied(layer: nn.Module, x: Tensor) -> Tensor:
    """A head or representation with stacked weights: linear layers as batched products, others member by member."""
    if isinstance(layer, nn.Linear):
        return linear(x, layer.weight, layer.bias)
    if isinstance(layer, nn.Sequential):
        for part in layer:
            x = _applied(part, x)
        return x
    if isinstance(layer, nn.Identity):  # most models' representation
        return x
    tensors = dict(layer.named_parameters())
    return vmap(lambda own, each: functional_call(layer, own, (each,)), in_dims=(0 if tensors else None, 0))(tensors, x)
