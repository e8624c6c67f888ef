"""What a model costs, measured here: seconds, memory, and the processor's peak."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.evaluation.cost import Training
from sigvit.mode import in_mode
from sigvit.products import fast_products
from sigvit.timing import seconds_of, step_seconds

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def measured_peak(device: torch.device | str = "cpu", dtype: str = "float32", repeats: int = 7) -> float:
    """FLOP/s of a large square matrix product here: the median of the repeats.

    >>> measured_peak(repeats=1) > 1e8
    True
    """
    device = torch.device(device)
    size = 8192 if device.type == "cuda" else 1024
    left, right, out = (torch.ones(size, size, device=device, dtype=DTYPES[dtype]) for _ in range(3))
    with fast_products(size**3):
        return 2.0 * size**3 / statistics.median(seconds_of(lambda: torch.mm(left, right, out=out), device, repeats))


class TrainingStep:
    """One whole step of a model on random numbers, to be called and timed: forward, cross-entropy, backward, clipping, optimiser, moving average."""

    def __init__(self, model: nn.Module, training: Training, device: torch.device | str = "cpu") -> None:
        self.device, self.training = torch.device(device), training
        self.model = model.to(self.device, torch.float64 if training.dtype == "float64" else torch.float32).train()
        self.parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.averages = [parameter.detach().clone() for parameter in self.parameters] if training.average else []
        self.optimizer = _optimizer(self.parameters, training.optimizer)
        self.inputs = torch.randn(training.share(1), *training.input_shape, device=self.device, dtype=self.parameters[0].dtype)
        with torch.no_grad():
            self.targets = torch.ones_like(model(self.inputs[:2]))[:1].expand(len(self.inputs), -1) / model(self.inputs[:2]).shape[1]

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        for _ in range(self.training.accumulation):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.dtype == "bfloat16"):
                loss = functional.cross_entropy(self.model(self.inputs), self.targets)
            loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        if self.averages:
            with torch.no_grad():
                torch._foreach_lerp_(self.averages, self.parameters, 0.01)


def inference_seconds(model: nn.Module, inputs: Tensor, dtype: str = "float32", rounds: int = 7) -> float:
    """Median seconds of a forward pass in evaluation mode, without gradients."""

    @torch.inference_mode()
    def forward() -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            return model(inputs)

    with in_mode(model, training=False):
        return step_seconds([forward], inputs.device, rounds)[0]


def peak_memory(step: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Bytes that the process (CPU; Linux) or PyTorch on its GPU held at most while `step` ran.

    Raises
    ------
    OSError : a CPU whose system keeps no resettable peak.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return float(torch.cuda.max_memory_allocated(device))
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is held now
    step()
    return resident_memory("VmHWM")


def resident_memory(field: str = "VmRSS") -> float:
    """Bytes of this process in memory, now ("VmRSS") or at most ("VmHWM"); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _optimizer(parameters: list[Tensor], kind: str) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, fused=True)
    if kind == "lamb":
        raise ValueError("A step with lamb is predicted, never measured: torch has none; measure one with adam, adamw or sgd.")
    return torch.optim.AdamW(parameters, lr=1e-3, fused=True) if kind == "adamw" else torch.optim.Adam(parameters, lr=1e-3, fused=True)
