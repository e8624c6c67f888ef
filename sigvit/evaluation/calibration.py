"""This processor's prices: what its measured steps imply for each kind of work."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import torch
from torch import nn

from sigvit.evaluation.cost import Training, step_work
from sigvit.evaluation.hardware import Hardware
from sigvit.evaluation.measure import TrainingStep, measured_peak
from sigvit.evaluation.trace import Work
from sigvit.timing import step_seconds


def calibrate(cases: Sequence[tuple[nn.Module, Training]], device: torch.device | str = "cpu", rounds: int = 7) -> Hardware:
    """This processor's prices, from the measured steps of a few models that differ in what they are made of.

    The prices are the non-negative ones whose predictions have the smallest relative errors (least squares). Predict steps of the same dtype, device
    and number of threads, and of sizes between the cases'.

    Raises
    ------
    ValueError : fewer cases than there are kinds of work, or cases of several dtypes.
    """
    dtypes = {training.dtype for _, training in cases}
    if len(cases) < len(astuple(Work())) or len(dtypes) != 1:
        raise ValueError(f"{len(cases)} cases of dtypes {sorted(dtypes)} can't be calibrated on; give at least {len(astuple(Work()))} of one dtype.")
    gpu = torch.device(device).type == "cuda"
    works = [step_work(model, training, gpu) for model, training in cases]
    seconds = step_seconds([TrainingStep(model, training, device) for model, training in cases], device, rounds)
    name = torch.cuda.get_device_name(device) if gpu else f"this CPU, {torch.get_num_threads()} threads"
    peak = measured_peak(device, dtypes.pop())
    return Hardware(name, peak, _memory_bytes(torch.device(device)), fit_prices(works, seconds), source="calibrated on measured steps", gpu=gpu)


def fit_prices(works: Sequence[Work], seconds: Sequence[float]) -> Work:
    """Non-negative prices with the smallest squared relative errors, exactly: the best of the least-squares solutions over all subsets of kinds.

    >>> works = [Work(bytes=1.0, operations=2.0), Work(bytes=3.0, operations=1.0), Work(bytes=5.0, operations=5.0)]
    >>> prices = fit_prices(works, [5.0, 5.0, 15.0])
    >>> round(prices.bytes, 9), round(prices.operations, 9), prices.matmul_flops
    (1.0, 2.0, 0.0)
    """
    table = np.array([astuple(work) for work in works]) / np.array(seconds)[:, None]
    scale = np.abs(table).max(0)
    best, prices = np.inf, np.zeros(table.shape[1])
    kinds = np.flatnonzero(scale)
    for count in range(1, len(kinds) + 1):
        for chosen in map(list, itertools.combinations(kinds, count)):
            solution = np.linalg.lstsq(table[:, chosen] / scale[chosen], np.ones(len(table)), rcond=None)[0]
            error = float(np.square(table[:, chosen] / scale[chosen] @ solution - 1).sum())
            if (solution >= 0).all() and error < best:
                best, prices = error, np.zeros(table.shape[1])
                prices[chosen] = solution / scale[chosen]
    return Work(*prices.tolist())


def _memory_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    known = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})  # not on Windows
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if known else 0.0
