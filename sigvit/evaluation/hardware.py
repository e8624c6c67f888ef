"""What processors can do: published numbers of GPUs, and prices that turn work into seconds."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sigvit.evaluation.trace import Work

# Shares of the published peaks that large operations reach; docs/scale.md holds them against published throughputs.
MATMUL_EFFICIENCY = 0.70
ATTENTION_EFFICIENCY = 0.35
BANDWIDTH_EFFICIENCY = 0.80
OPERATION_S = 3e-6  # start and end of a kernel
COMPILED_TRAFFIC = 0.5  # what fusing leaves of the traffic outside products, and of the number of operations
NETWORK_EFFICIENCY = 0.70
GPUS_PER_MACHINE = 8


@dataclass(frozen=True)
class Hardware:
    """One processor, and the way to others like it.

    Attributes
    ----------
    name : for the table.
    peak_flops : FLOP/s of large matrix products in the run's number format: published, or measured by `measured_peak`.
    memory_bytes : that a run can use; 0 where it isn't known.
    prices : seconds for each unit of `Work`.
    link_bytes_s, network_bytes_s : to processors of the same machine and of others, a direction; 0 where there are none.
    source : where the numbers are from.
    gpu : whether it is one.
    """

    name: str
    peak_flops: float
    memory_bytes: float
    prices: Work
    link_bytes_s: float = 0.0
    network_bytes_s: float = 0.0
    source: str = ""
    gpu: bool = False

    def seconds(self, work: Work) -> float:
        """How long the work takes: every kind at its price, summed.

        >>> published("h100", "bfloat16").seconds(Work(matmul_flops=1e15)) > 1e15 / 989.4e12
        True
        """
        return sum(getattr(work, field.name) * getattr(self.prices, field.name) for field in fields(Work))


@dataclass(frozen=True)
class Published:
    """A GPU's data sheet: dense TFLOP/s with bfloat16 on tensor cores and with float32 off them, memory in GiB, bandwidths in GB/s (links: a direction)."""

    name: str
    bfloat16: float
    float32: float
    memory_gib: float
    bandwidth: float
    link: float
    network: float
    source: str


# Sheets that give TFLOP/s "with sparsity" are halved here. Memory is what the driver leaves: a little below the name's number.
# The network is what the makers' own eight-GPU machines have for each GPU.
GPUS = {
    "b200": Published("NVIDIA B200", 2250, 80, 178, 8000, 900, 50, "NVIDIA HGX B200 data sheet"),
    "h200": Published("NVIDIA H200 SXM", 989.4, 66.9, 139, 4800, 450, 50, "NVIDIA H200 data sheet"),
    "h100": Published("NVIDIA H100 SXM", 989.4, 66.9, 79, 3350, 450, 50, "NVIDIA H100 data sheet"),
    "a100": Published("NVIDIA A100 SXM 80 GB", 312, 19.5, 79, 2039, 300, 25, "NVIDIA A100 data sheet"),
    "a100-40gb": Published("NVIDIA A100 SXM 40 GB", 312, 19.5, 39, 1555, 300, 25, "NVIDIA A100 data sheet"),
    "l40s": Published("NVIDIA L40S", 362, 91.6, 44, 864, 32, 25, "NVIDIA L40S data sheet"),
    "l4": Published("NVIDIA L4", 121, 30.3, 22, 300, 32, 12.5, "NVIDIA L4 data sheet"),
    "rtx4090": Published("NVIDIA RTX 4090", 165.2, 82.6, 23, 1008, 32, 12.5, "NVIDIA Ada architecture white paper"),
    "rtx3090": Published("NVIDIA RTX 3090", 71, 35.6, 23, 936, 32, 12.5, "NVIDIA GA102 architecture white paper"),
}


def published(name: str, dtype: str) -> Hardware:
    """A GPU of the table, with the stated efficiencies; ValueError for one that isn't there, or a number format that the table doesn't tell.

    >>> published("h200", "bfloat16").peak_flops / 1e12
    989.4
    """
    if name.lower() not in GPUS:
        raise ValueError(f"There are no numbers of a GPU {name!r}; there are {', '.join(GPUS)}, or give its peak and memory.")
    if dtype not in ("bfloat16", "float32"):
        raise ValueError(f"There are no numbers of GPUs with {dtype}, only with bfloat16 and float32; give the peak yourself.")
    gpu = GPUS[name.lower()]
    peak = (gpu.bfloat16 if dtype == "bfloat16" else gpu.float32) * 1e12
    prices = stated_prices(peak, gpu.bandwidth * 1e9)
    return Hardware(gpu.name, peak, gpu.memory_gib * 2**30, prices, gpu.link * 1e9, gpu.network * 1e9, gpu.source, gpu=True)


def stated_prices(peak_flops: float, bandwidth: float) -> Work:
    """Prices of a GPU that isn't here: its peak FLOP/s and bytes/s times the efficiencies atop this file.

    Products' traffic and exponentials hide behind the rest and are free.
    """
    return Work(
        matmul_flops=1 / (peak_flops * MATMUL_EFFICIENCY),
        attention_flops=1 / (peak_flops * ATTENTION_EFFICIENCY),
        bytes=1 / (bandwidth * BANDWIDTH_EFFICIENCY),
        operations=OPERATION_S,
    )
