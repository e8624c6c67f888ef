"""EEGNet and ShallowConvNet, the two convolutional networks that every EEG paper compares with; imported by experiments alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.model.encoder import Draw, dropout, linear
from sigvit.network_classifier import NetworkClassifier
from sigvit.training.recipe import Recipe

# B = batch, E = electrodes, S = samples, K = stacked models


class Dropout(nn.Dropout):
    """Dropout as the encoder draws it."""

    def forward(self, values: Tensor) -> Tensor:
        return dropout(values, self.p, self.training)


class EEGNet(nn.Module):
    """EEGNet-8,2 (Lawhern et al. 2018): temporal filters of half a second, two spatial filters each, a separable convolution; (B, E, S) → (B, classes).

    The paper works at 128 Hz: higher rates are averaged down to about that, and filter and pooling lengths keep their seconds.

    >>> EEGNet(22, 256, 4, sampling_rate=128.0)(torch.zeros(3, 22, 256)).shape
    torch.Size([3, 4])
    """

    def __init__(self, n_electrodes: int, n_times: int, n_classes: int, sampling_rate: float, dropout: float = 0.5) -> None:
        super().__init__()
        self.decimation = min(n_times, max(1, round(sampling_rate / 128)))
        rate, n_times = sampling_rate / self.decimation / 128, n_times // self.decimation
        length, pool = max(1, round(64 * rate)), min(n_times, max(1, round(4 * rate)))
        pooled = n_times // pool
        second_pool = min(8, pooled)
        self.features = nn.Sequential(
            nn.ZeroPad2d(((length - 1) // 2, length // 2, 0, 0)),
            nn.Conv2d(1, 8, (1, length), bias=False),
            nn.BatchNorm2d(8, eps=1e-3, momentum=0.01),
            nn.Conv2d(8, 16, (n_electrodes, 1), groups=8, bias=False),
            nn.BatchNorm2d(16, eps=1e-3, momentum=0.01),
            nn.ELU(),
            nn.AvgPool2d((1, pool)),
            Dropout(dropout),
            nn.ZeroPad2d((7, 8, 0, 0)),
            nn.Conv2d(16, 16, (1, 16), groups=16, bias=False),
            nn.Conv2d(16, 16, 1, bias=False),
            nn.BatchNorm2d(16, eps=1e-3, momentum=0.01),
            nn.ELU(),
            nn.AvgPool2d((1, second_pool)),
            Dropout(dropout),
            nn.Flatten(),
        )
        self.head = nn.Linear(16 * (pooled // second_pool), n_classes)

    def forward(self, values: Tensor) -> Tensor:
        features = self.features(functional.avg_pool1d(values, self.decimation)[:, None])
        return linear(features, bounded_rows(self.head.weight), self.head.bias)

    def forward_stacked(self, values: Tensor, draw: Draw | None = None) -> Tensor:
        """(K, B, E, S) → (K, B, classes), with stacked weights."""
        x = functional.avg_pool1d(values.flatten(0, 1), self.decimation).unflatten(0, values.shape[:2]).transpose(0, 1)
        for layer in list(self.features)[:-1]:
            x = stacked_layer(layer, x, len(values), draw)
        return linear(members_first(x, len(values)).flatten(2), bounded_rows(self.head.weight), self.head.bias)


class ShallowConvNet(nn.Module):
    """ShallowConvNet (Schirrmeister et al. 2017): temporal and spatial filters, square, mean over 0.3 s, logarithm; (B, E, S) → (B, classes).

    The paper works at 250 Hz; filter and pooling lengths keep their seconds at other rates.

    >>> ShallowConvNet(22, 500, 4, sampling_rate=250.0)(torch.zeros(3, 22, 500)).shape
    torch.Size([3, 4])
    """

    def __init__(self, n_electrodes: int, n_times: int, n_classes: int, sampling_rate: float, dropout: float = 0.5) -> None:
        super().__init__()
        rate = sampling_rate / 250
        kernel = min(n_times, max(1, round(25 * rate)))
        filtered = n_times - kernel + 1
        self.window, self.stride = min(filtered, max(1, round(75 * rate))), max(1, round(15 * rate))
        self.temporal = nn.Conv2d(1, 40, (1, kernel))
        self.spatial = nn.Conv2d(40, 40, (n_electrodes, 1), bias=False)
        self.norm = nn.BatchNorm1d(40)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(40 * ((filtered - self.window) // self.stride + 1), n_classes)

    def forward(self, values: Tensor) -> Tensor:
        filtered = self.norm(functional.conv1d(values, *self.joint_filters()))
        power = functional.avg_pool1d(filtered**2, self.window, self.stride)
        # 1e-6 is the floor of the authors' safe logarithm.
        return self.head(self.dropout(power.clamp(min=1e-6).log()).flatten(1))

    def forward_stacked(self, values: Tensor, draw: Draw | None = None) -> Tensor:
        """(K, B, E, S) → (K, B, classes), with stacked weights."""
        members = len(values)
        filters, offsets = self.joint_filters()
        side_by_side = values.transpose(0, 1).flatten(1, 2)
        filtered = stacked_layer(self.norm, functional.conv1d(side_by_side, filters.flatten(0, 1), offsets.flatten(), groups=members), members)
        power = functional.avg_pool1d(filtered**2, self.window, self.stride)
        logarithm = stacked_layer(self.dropout, power.clamp(min=1e-6).log(), members, draw)
        return linear(members_first(logarithm, members).flatten(2), self.head.weight, self.head.bias)

    def joint_filters(self) -> tuple[Tensor, Tensor]:
        """Nothing stands between temporal and spatial filters: one convolution, (40, E, length) and offsets (40,), gives the same numbers, faster."""
        spatial, temporal = self.spatial.weight[..., 0], self.temporal.weight[..., 0, 0, :]
        assert self.temporal.bias is not None
        return torch.einsum("...ofe,...ft->...oet", spatial, temporal), torch.einsum("...ofe,...f->...o", spatial, self.temporal.bias)


def bounded_rows(weight: Tensor) -> Tensor:
    """A head's rows, (classes, inputs) or (K, classes, inputs), with norms of at most 1/4, as EEGNet's paper bounds them."""
    return weight.flatten(0, -2).renorm(2, 0, 0.25).view_as(weight)


def stacked_layer(layer: nn.Module, x: Tensor, members: int, draw: Draw | None = None) -> Tensor:
    """A layer with stacked weights (K, …) applied to the channels of K models side by side, (B, K · channels, …): convolutions become grouped ones.

    BatchNorm measures every channel by itself, so each model has its own statistics; dropout takes each model's factors from `draw`.
    """
    if isinstance(layer, nn.Conv2d):
        bias = None if layer.bias is None else layer.bias.flatten()
        return functional.conv2d(x, layer.weight.flatten(0, 1), bias, groups=members * layer.groups)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return _stacked_norm(layer, x)
    if isinstance(layer, nn.Dropout):
        return dropout(members_first(x, members), layer.p, layer.training, draw).transpose(0, 1).flatten(1, 2)
    return layer(x)


def _stacked_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, variance, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or variance is None or count is None or norm.momentum is None:
        raise ValueError("A BatchNorm without running statistics, or with their plain mean, has no stacked form here.")
    if norm.training:
        count += 1
    # Views of the stacked statistics, which are updated in place.
    return functional.batch_norm(x, mean.view(-1), variance.view(-1), norm.weight.flatten(), norm.bias.flatten(), norm.training, norm.momentum, norm.eps)


def members_first(x: Tensor, members: int) -> Tensor:
    """(B, K · channels, …) → (K, B, channels, …)."""
    return x.unflatten(1, (members, -1)).transpose(0, 1)


class ConvNetClassifier(NetworkClassifier):
    """A convolutional baseline, trained by Adam with the weights of the lowest validation loss; five looks without a better one end it.

    Parameters
    ----------
    network : "EEGNet" or "ShallowConvNet".
    sampling_rate : Hz; None takes it from Epochs or Windows.
    epochs, batch_size, learning_rate : of Adam without weight decay.
    early_stopping, patience, class_weight, device, progress, random_state : see `sigvit.SignalViTClassifier`.
    """

    def __init__(
        self,
        network: str = "EEGNet",
        sampling_rate: float | None = None,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        early_stopping: bool = True,
        patience: int = 5,
        class_weight: str | dict | None = None,
        device: str = "cpu",
        progress: bool = False,
        random_state: int | None = 0,
    ) -> None:
        self.network = network
        self.sampling_rate = sampling_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.patience = patience
        self.class_weight = class_weight
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def recipe(self, n_windows: int) -> Recipe:
        return Recipe(
            steps=self.epochs * max(1, n_windows // self.batch_size),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=0,
            weight_decay=0.0,
            label_smoothing=0.0,
            ema_decay=0.0,
            patience=self.patience,
        )

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        networks = {"EEGNet": EEGNet, "ShallowConvNet": ShallowConvNet}
        if self.network not in networks:
            raise ValueError(f"network is {self.network!r}; it must be one of {', '.join(networks)}.")
        counted = isinstance(electrodes, int)
        if counted and self.sampling_rate is None:
            raise ValueError("An array doesn't say its sampling rate, which sets the filters: give sampling_rate in Hz, or pass Windows or Epochs.")
        rate = float(electrodes["sfreq"]) if self.sampling_rate is None else self.sampling_rate
        n_electrodes = electrodes if counted else len(electrodes["ch_names"])
        return networks[self.network](n_electrodes, n_times, n_classes, rate)
