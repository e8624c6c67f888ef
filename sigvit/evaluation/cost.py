"""What a training will cost: memory, hours and samples a second, from the work of one step and the prices of a processor."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from sigvit.evaluation.hardware import COMPILED_TRAFFIC, GPUS_PER_MACHINE, NETWORK_EFFICIENCY, Hardware
from sigvit.evaluation.trace import Trace, Work, trace_forward, trace_training

# Bytes of state a float32 parameter has, and bytes that its update reads and writes.
OPTIMIZER_STATE = {"adamw": 8, "adam": 8, "lamb": 8, "sgd": 4}
OPTIMIZER_TRAFFIC = {"adamw": 28, "adam": 28, "lamb": 96, "sgd": 20}
CLIPPING_TRAFFIC = 12  # the norm reads the gradient, the scaling reads and writes it
AVERAGE_TRAFFIC = 12
OPERATIONS_A_TENSOR = 4  # norm, scaling, update, average
RESERVE = 0.90  # of the memory: the rest is the driver's, the libraries' workspaces and what fragmentation takes


@dataclass(frozen=True)
class Training:
    """A training in plain numbers.

    Attributes
    ----------
    input_shape : of one sample: (channels, rows, columns) or (electrodes, samples).
    batch, steps : samples of an optimiser step, over all devices, and how many steps there are.
    dtype : "float32", "float64" or "bfloat16" (autocast over float32 weights).
    optimizer : "adamw", "adam", "lamb" or "sgd" (with momentum).
    average : whether a moving average of the weights is kept.
    accumulation : parts that a device's share of the batch is computed in.
    compiled : whether `torch.compile` fuses operations; counts on GPUs, where it halves the traffic outside products (stated, not calibrated).

    Raises
    ------
    ValueError : a number below 1, another optimiser or number format.

    >>> Training((3, 224, 224), batch=4096, steps=10, optimizer="lion")
    Traceback (most recent call last):
    ValueError: optimizer is 'lion'; there are 'adamw', 'adam', 'lamb', 'sgd'.
    """

    input_shape: tuple[int, ...]
    batch: int
    steps: int = 1
    dtype: str = "float32"
    optimizer: str = "adamw"
    average: bool = False
    accumulation: int = 1
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name, kinds in (("optimizer", tuple(OPTIMIZER_STATE)), ("dtype", ("float32", "float64", "bfloat16"))):
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} is {getattr(self, name)!r}; there are {', '.join(map(repr, kinds))}.")

    def share(self, devices: int) -> int:
        """Samples that a device computes at once."""
        parts = devices * self.accumulation
        if self.batch % parts:
            raise ValueError(f"A batch of {self.batch} can't be cut into {parts} equal parts ({devices} devices × accumulation {self.accumulation}).")
        return self.batch // parts


@dataclass(frozen=True)
class TrainingCost:
    """The answer.

    Attributes
    ----------
    parameters : of the model.
    forward_flops : of one sample's forward pass.
    step_s : seconds of a step, `communication_s` of them waiting for other devices and `input_s` for the batch.
    samples_s : samples a second, over all devices.
    hours : of all steps.
    share_of_peak : of the devices' peak: three forward passes' FLOPs a sample, whatever is computed twice.
    memory : bytes on each device: "weights", "gradients and activations", "optimiser", "average", "communication", "input".
    fits : whether the sum is within 90 % of the device's memory; None where that isn't known.
    """

    parameters: int
    forward_flops: float
    step_s: float
    communication_s: float
    input_s: float
    samples_s: float
    hours: float
    share_of_peak: float
    memory: dict[str, float]
    fits: bool | None

    @property
    def memory_bytes(self) -> float:
        return sum(self.memory.values())


def training_cost(model: nn.Module, training: Training, hardware: Hardware, devices: int = 1, sharded: bool = False, input_s: float = 0.0) -> TrainingCost:
    """Predict a training of `model`, which may be on the meta device: nothing of it is computed.

    Parameters
    ----------
    devices : processors like `hardware`, eight a machine, that share the batch.
    sharded : weights, gradients and optimiser in equal shares on all devices (FSDP2), else whole on each (DDP).
    input_s : seconds that a step waits for its batch.

    Raises
    ------
    ValueError : a batch that the devices can't share equally.

    >>> from sigvit.evaluation.hardware import published
    >>> cost = training_cost(nn.Linear(5, 7), Training((5,), batch=12, steps=100), published("a100", "float32"), devices=4)
    >>> cost.parameters, cost.forward_flops, cost.fits
    (42, 70.0, True)
    """
    share = training.share(devices)
    trace = trace_training(model, training.input_shape, share, training.dtype, hardware.gpu)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    tensors = len(list(model.parameters()))
    work = fused(trace.work) if training.compiled and hardware.gpu else trace.work
    compute_s = hardware.seconds(work) * training.accumulation
    update_s = hardware.seconds(update_work(training, trained / devices if sharded else trained, tensors))
    communication_s = _communication_s(hardware, 4.0 * trained, devices, sharded, overlap_s=hardware.seconds(work) * 2 / 3)
    step_s = compute_s + update_s + communication_s + input_s
    forward = trace_forward(model, training.input_shape, 1, training.dtype, gpu=True).work.flops  # the same on both, in one run
    memory = memory_parts(training, trace, trained, share, devices, sharded, frozen=parameters - trained)
    return TrainingCost(
        parameters=parameters,
        forward_flops=forward,
        step_s=step_s,
        communication_s=communication_s,
        input_s=input_s,
        samples_s=training.batch / step_s,
        hours=training.steps * step_s / 3600,
        share_of_peak=3 * forward * training.batch / step_s / devices / hardware.peak_flops,
        memory=memory,
        fits=sum(memory.values()) <= RESERVE * hardware.memory_bytes if hardware.memory_bytes else None,
    )


def fused(work: Work) -> Work:
    """What compilation leaves of it."""
    return replace(work, bytes=work.bytes * COMPILED_TRAFFIC, operations=work.operations * COMPILED_TRAFFIC)


def update_work(training: Training, parameters: float, tensors: int) -> Work:
    """Of clipping, the optimiser and the moving average."""
    traffic = OPTIMIZER_TRAFFIC[training.optimizer] + CLIPPING_TRAFFIC + AVERAGE_TRAFFIC * training.average
    return Work(bytes=traffic * parameters * _width(training) / 4, operations=OPERATIONS_A_TENSOR * tensors)


def step_work(model: nn.Module, training: Training, gpu: bool = False) -> Work:
    """All of a step's work on one device, a GPU or this CPU."""
    parameters = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    trace = trace_training(model, training.input_shape, training.share(1), training.dtype, gpu)
    return trace.work * training.accumulation + update_work(training, sum(parameters), len(parameters))


def memory_parts(training: Training, trace: Trace, parameters: int, share: int, devices: int = 1, sharded: bool = False, frozen: int = 0) -> dict[str, float]:
    """Bytes that are alive at a step's peak on one device, by what they are for; `parameters` are those that are trained, beside the `frozen`."""
    held = float(parameters * _width(training))  # bytes of all trained weights, and of all gradients
    weights = held + float(frozen * _width(training))
    each = held / devices if sharded else held
    gradients = trace.peak_bytes + (held if training.accumulation > 1 else 0.0)
    if sharded:  # each gradient goes to its owner as soon as it is there; two blocks' weights are whole at a time, which `communication` holds
        gradients = max(trace.peak_bytes - held, trace.kept_bytes) + each
    sample = 4.0
    for size in training.input_shape:
        sample *= size
    parts = {
        "weights": weights / devices if sharded else weights,
        "gradients and activations": gradients,
        "optimiser": each * OPTIMIZER_STATE[training.optimizer] / 4,
        "average": each if training.average else 0.0,
        "communication": 0.0 if devices == 1 else (weights / 8 if sharded else held),
        "input": 2 * share * sample,
    }
    return {name: size for name, size in parts.items() if size}


def _communication_s(hardware: Hardware, gradient_bytes: float, devices: int, sharded: bool, overlap_s: float) -> float:
    """What is left of the exchange of gradients (and of weights, where they are sharded) once the backward pass has hidden what it can."""
    if devices == 1:
        return 0.0
    # Between machines as many rings run as a machine has GPUs, each over a way of its own.
    bandwidth = hardware.link_bytes_s if devices <= GPUS_PER_MACHINE else min(GPUS_PER_MACHINE * hardware.network_bytes_s, hardware.link_bytes_s)
    if not bandwidth:
        raise ValueError(f"Nothing says how fast {hardware.name} reaches {devices - 1} others; give link and network bandwidths.")
    # A ring: reduce-scatter and all-gather of the gradients; sharded weights are gathered once more, for the forward pass.
    rounds = (3 if sharded else 2) * (devices - 1) / devices
    return max(0.0, rounds * gradient_bytes / (bandwidth * NETWORK_EFFICIENCY) - overlap_s)


def _width(training: Training) -> int:
    return 8 if training.dtype == "float64" else 4
