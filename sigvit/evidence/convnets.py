"""EEGNet and ShallowConvNet, the two convolutional networks that every EEG paper compares with; imported by experiments alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.model.dropout import Draw, dropout
from sigvit.model.temporal_filters import filter_in_time, filtered_moments, mean_of_neighbours
from sigvit.network_classifier import NetworkClassifier
from sigvit.products import linear, product
from sigvit.training.recipe import Recipe

# B = batch, E = electrodes, S = samples, K = stacked models


class EEGNet(nn.Module):
    """EEGNet-8,2 (Lawhern et al. 2018): temporal filters of half a second, two spatial filters each, a separable convolution; (B, E, S) → (B, classes).

    The paper works at 128 Hz: higher rates are averaged down to about that, and filter and pooling lengths keep their seconds.

    Between the temporal and the spatial filters stands only BatchNorm, which scales and shifts; so 16 mixtures of the electrodes are filtered, instead of every
    electrode 8 times, and what BatchNorm measures is taken from the signals. The same numbers, in a fraction of the time.

    >>> EEGNet(22, 256, 4, sampling_rate=128.0)(torch.zeros(3, 22, 256)).shape
    torch.Size([3, 4])
    """

    def __init__(self, n_electrodes: int, n_times: int, n_classes: int, sampling_rate: float, dropout: float = 0.5) -> None:
        super().__init__()
        self.decimation = min(n_times, max(1, round(sampling_rate / 128)))
        rate, n_times = sampling_rate / self.decimation / 128, n_times // self.decimation
        self.pool = min(n_times, max(1, round(4 * rate)))
        self.second_pool = min(8, n_times // self.pool)
        self.dropout_rate = dropout
        self.temporal = nn.Conv2d(1, 8, (1, max(1, round(64 * rate))), bias=False)
        self.temporal_norm = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.spatial = nn.Conv2d(8, 16, (n_electrodes, 1), groups=8, bias=False)
        self.spatial_norm = nn.BatchNorm2d(16, eps=1e-3, momentum=0.01)
        # The second BatchNorm takes the first one's offset out again: its gradient would be rounding noise, of which Adam makes full steps.
        self.temporal_norm.bias.requires_grad_(False)
        self.depthwise = nn.Conv2d(16, 16, (1, 16), groups=16, bias=False)
        self.pointwise = nn.Conv2d(16, 16, 1, bias=False)
        self.separable_norm = nn.BatchNorm2d(16, eps=1e-3, momentum=0.01)
        self.head = nn.Linear(16 * (n_times // self.pool // self.second_pool), n_classes)
        self.built = repr(self)

    def forward(self, values: Tensor, draw: Draw | None = None) -> Tensor:
        """Or, with stacked weights, (K, B, E, S) → (K, B, classes)."""
        x = self._filtered(mean_of_neighbours(values, self.decimation).transpose(-3, -2).contiguous())
        x = mean_of_neighbours(functional.elu(_channels_normed(self.spatial_norm, x)), self.pool)
        x = dropout(x.transpose(-3, -2), self.dropout_rate, self.training, draw).transpose(-3, -2)
        x = filter_in_time(x, self.depthwise.weight[..., 0, 0, :], before=7)
        x = product(self.pointwise.weight[..., 0, 0], x.flatten(-2)).view(x.shape)
        x = mean_of_neighbours(functional.elu(_channels_normed(self.separable_norm, x)), self.second_pool)
        x = dropout(x.transpose(-3, -2), self.dropout_rate, self.training, draw)
        return linear(x.flatten(-2), bounded_rows(self.head.weight), self.head.bias)

    forward_stacked = forward

    def _filtered(self, x: Tensor) -> Tensor:
        """Temporal filters, their BatchNorm, spatial filters: (…, E, B, S) → (…, 16, B, S)."""
        filters, spatial = self.temporal.weight[..., 0, 0, :], self.spatial.weight[..., 0, :, 0].unflatten(-2, (8, 2))
        before = (filters.shape[-1] - 1) // 2
        scale, offset = self._scale_and_offset(x.flatten(-3, -2), filters, before)
        mixed = product((spatial * scale[..., None, None]).flatten(-3, -2), x.flatten(-2))
        pairs = mixed.unflatten(-2, (8, 2)).unflatten(-1, x.shape[-2:]).flatten(-3, -2)
        filtered = filter_in_time(pairs, filters, before).unflatten(-2, (2, -1)).flatten(-4, -3)
        return filtered + (spatial.sum(-1) * offset[..., None]).flatten(-2)[..., None, None]

    def _scale_and_offset(self, signals: Tensor, filters: Tensor, before: int) -> tuple[Tensor, Tensor]:
        """What BatchNorm does to the temporal filters' answers to signals (…, E · B, S), twice (…, 8)."""
        norm = self.temporal_norm
        mean, variance, _ = _running(norm)
        if norm.training:
            mean, variance = filtered_moments(signals, filters, before)
            _follow(norm, mean, variance, signals.shape[-2] * signals.shape[-1])
        scale = norm.weight * (variance + norm.eps).rsqrt()
        return scale, norm.bias - mean * scale


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
        assert self.temporal.bias is not None
        # BatchNorm takes it out again: its gradient would be rounding noise, of which Adam makes full steps.
        self.temporal.bias.requires_grad_(False)
        self.spatial = nn.Conv2d(40, 40, (n_electrodes, 1), bias=False)
        self.norm = nn.BatchNorm1d(40)
        self.dropout_rate = dropout
        self.head = nn.Linear(40 * ((filtered - self.window) // self.stride + 1), n_classes)
        self.built = repr(self)

    def forward(self, values: Tensor) -> Tensor:
        filtered = self.norm(functional.conv1d(values, *self.joint_filters()))
        power = functional.avg_pool1d(filtered**2, self.window, self.stride)
        # 1e-6 is the floor of the authors' safe logarithm.
        return self.head(dropout(power.clamp(min=1e-6).log(), self.dropout_rate, self.training).flatten(1))

    def forward_stacked(self, values: Tensor, draw: Draw | None = None) -> Tensor:
        """(K, B, E, S) → (K, B, classes), with stacked weights; K channels side by side from convolution to power."""
        filters, offsets = self.joint_filters()
        # One convolution with K groups takes half as long again on a CPU.
        filtered = torch.cat([functional.conv1d(*own) for own in zip(values, filters, offsets, strict=True)], 1)
        power = functional.avg_pool1d(batch_norm(self.norm, filtered) ** 2, self.window, self.stride)
        logarithm = power.clamp(min=1e-6).log().unflatten(1, (len(values), -1)).transpose(0, 1)
        return linear(dropout(logarithm, self.dropout_rate, self.training, draw).flatten(2), self.head.weight, self.head.bias)

    def joint_filters(self) -> tuple[Tensor, Tensor]:
        """Nothing stands between temporal and spatial filters: one convolution, (40, E, length) and offsets (40,), gives the same numbers, faster."""
        spatial, temporal = self.spatial.weight[..., 0], self.temporal.weight[..., 0, 0, :]
        assert self.temporal.bias is not None
        return torch.einsum("...ofe,...ft->...oet", spatial, temporal), torch.einsum("...ofe,...f->...o", spatial, self.temporal.bias)


def bounded_rows(weight: Tensor) -> Tensor:
    """A head's rows, (classes, inputs) or (K, classes, inputs), with norms of at most 1/4, as EEGNet's paper bounds them."""
    return weight.flatten(0, -2).renorm(2, 0, 0.25).view_as(weight)


def batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """BatchNorm with stacked weights (K, C) of the channels of K models side by side, (B, K · C, …), or with one model's.

    It measures every channel by itself, so each model has its own statistics.
    """
    mean, variance, count = _running(norm)
    assert norm.momentum is not None
    if norm.training:
        count += 1
    # Views of the running statistics, which are updated in place.
    return functional.batch_norm(x, mean.view(-1), variance.view(-1), norm.weight.flatten(), norm.bias.flatten(), norm.training, norm.momentum, norm.eps)


def _channels_normed(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """BatchNorm of (…, C, B, S)."""
    return batch_norm(norm, x.reshape(1, -1, *x.shape[-2:])).view(x.shape)


@torch.no_grad()
def _follow(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, numbers: int) -> None:
    """Running statistics move towards those of so many numbers, as BatchNorm's own do."""
    running_mean, running_variance, count = _running(norm)
    count += 1
    assert norm.momentum is not None
    running_mean.lerp_(mean.to(running_mean), norm.momentum)
    running_variance.lerp_(variance.to(running_variance) * numbers / max(1, numbers - 1), norm.momentum)


def _running(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of batches of a BatchNorm that keeps them."""
    mean, variance, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert mean is not None
    assert variance is not None
    assert count is not None
    return mean, variance, count


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
            steps=self.epochs * max(1, n_windows // max(1, self.batch_size)),  # the recipe refuses less than 1
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
