"""Costs add up, scale as they must, and the prices of a processor come out of its measured steps."""

import os
import subprocess
import sys
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from torch import nn

import sigvit
from sigvit.evaluation.calibration import calibrate, fit_prices
from sigvit.evaluation.cost import Training, memory_parts, step_work, training_cost
from sigvit.evaluation.hardware import GPUS, Hardware, published
from sigvit.evaluation.measure import TrainingStep, inference_seconds, measured_peak
from sigvit.evaluation.trace import Work, trace_training
from sigvit.timing import step_seconds

SHAPE = (2, 15, 35)


def small(**choices):
    return sigvit.vit("Ti/5", image_size=SHAPE[1:], num_classes=17, in_channels=2, **({"width": 22, "depth": 3, "heads": 2, "mlp_width": 37} | choices))


def test_prices_are_recovered_from_steps_that_cost_them():
    generator = np.random.default_rng(0)
    prices = Work(1e-11, 3e-11, 2e-9, 0.0, 1e-10, 5e-6)
    works = [Work(*row) for row in generator.uniform(0.1, 1, (13, 6)) * [1e10, 1e9, 1e7, 1e8, 1e8, 1e3]]
    hardware = Hardware("made up", 1e11, 0.0, prices)
    found = fit_prices(works, [hardware.seconds(work) for work in works])
    np.testing.assert_allclose(astuple(found), astuple(prices), rtol=1e-7, atol=1e-20)  # rounding of a least-squares solution


def test_no_price_is_negative_however_noisy_the_seconds():
    generator = np.random.default_rng(1)
    works = [Work(*row) for row in generator.uniform(0.1, 1, (11, 6))]
    assert min(astuple(fit_prices(works, generator.uniform(0.1, 10, 11).tolist()))) >= 0


@pytest.mark.slow
def test_a_processor_calibrated_on_its_steps_predicts_them_with_small_mean_error():
    """Within a factor of 1.67 in one of three tries: other tests come and go between calibration and measurement. The benchmark is held to 15 %."""
    sizes = [(8, 1, 3), (16, 2, 5), (32, 1, 2), (32, 2, 7), (64, 1, 3), (48, 1, 11)]
    cases = [(small(width=width, depth=depth, mlp_width=2 * width), Training(SHAPE, batch)) for width, depth, batch in sizes]
    for _ in range(3):
        hardware = calibrate(cases, rounds=3)
        seconds = step_seconds([TrainingStep(model, training) for model, training in cases], rounds=3)
        ratios = [hardware.seconds(step_work(model, training)) / measured for (model, training), measured in zip(cases, seconds, strict=True)]
        if 0.6 < np.median(ratios) < 1.67:
            break
    else:
        pytest.fail(f"predicted / measured seconds of the last try: {ratios}")
    assert hardware.peak_flops > 1e8
    assert hardware.memory_bytes > 2**28


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU is calibrated")
def test_a_calibrated_gpu_says_that_it_is_one():
    cases = [(small(width=width), Training(SHAPE, width)) for width in (22, 26, 34, 38, 46, 58)]
    assert calibrate(cases, "cuda", rounds=1).gpu


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_measured_step_trains_and_its_state_has_the_predicted_size(optimizer):
    model, training = small(), Training(SHAPE, 6, optimizer=optimizer, average=True, accumulation=2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    step = TrainingStep(model, training)
    step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    state = sum(value.numel() * 4 for values in step.optimizer.state.values() for value in values.values() if value.ndim)
    parts = memory_parts(training, trace_training(model, SHAPE, 3), sum(tensor.numel() for tensor in before), 3)
    assert parts["optimiser"] == state
    assert parts["weights"] == parts["average"] == sum(tensor.numel() * 4 for tensor in before)


MEASURE = """
import sys
from sigvit import vit
from sigvit.evaluation.cost import Training, memory_parts
from sigvit.evaluation.measure import TrainingStep, peak_memory, resident_memory
from sigvit.evaluation.trace import trace_training
size, dtype = int(sys.argv[1]), sys.argv[2]
training = Training((3, size, size), 13, dtype=dtype)
TrainingStep(vit("Ti/4", size, 10, depth=3), training)()  # libraries load, and write kernels for these sizes
before = resident_memory()
model = vit("Ti/4", size, 10, depth=3)
step = TrainingStep(model, training)
step()
parts = memory_parts(training, trace_training(model, training.input_shape, 13, dtype), sum(p.numel() for p in model.parameters()), 13)
print((peak_memory(step) - before) / sum(parts.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux alone")
@pytest.mark.parametrize(("size", "dtype"), [(64, "float32"), (56, "float32"), (56, "bfloat16")])
def test_memory_is_predicted_as_a_fresh_process_measures_it(size, dtype):
    """Within 10 %: kernels' workspaces aren't tensors. The C library gives freed pages back at once here; else it keeps up to a fifth more.
    Of 257 tokens the fused kernel keeps no weights of pairs; of 197 some CPUs' products do, which are 14 % of the memory in float32 and 8 % in bfloat16."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run([sys.executable, "-c", MEASURE, str(size), dtype], capture_output=True, text=True, check=True, env=environment)
    assert 0.9 < float(run.stdout) < 1.1


@pytest.mark.parametrize("sharded", [False, True])
def test_frozen_weights_take_memory_but_neither_gradients_nor_moments(sharded):
    training, hardware = Training(SHAPE, batch=12, average=True), published("h100", "float32")
    model = small()
    whole = training_cost(model, training, hardware, devices=3, sharded=sharded).memory
    model.requires_grad_(False).head.requires_grad_(True)
    frozen = training_cost(model, training, hardware, devices=3, sharded=sharded)
    head = 4 * sum(parameter.numel() for parameter in model.head.parameters()) / (3 if sharded else 1)
    assert frozen.memory["weights"] == whole["weights"] == 4 * frozen.parameters / (3 if sharded else 1)
    assert (frozen.memory["average"], frozen.memory["optimiser"]) == (head, 2 * head)
    # Shards are gathered to be read, also those that don't learn; whole models exchange the gradients alone.
    assert frozen.memory["communication"] == (whole["communication"] if sharded else head)


def test_the_cost_of_a_run_adds_up():
    training = Training(SHAPE, batch=24, steps=500, dtype="bfloat16", average=True)
    cost = training_cost(small(), training, published("h100", "bfloat16"), devices=4)
    assert cost.samples_s == pytest.approx(24 / cost.step_s)
    assert cost.hours == pytest.approx(500 * cost.step_s / 3600)
    assert cost.share_of_peak == pytest.approx(3 * cost.forward_flops * cost.samples_s / (4 * 989.4e12))
    assert cost.memory_bytes == sum(cost.memory.values())
    waiting = training_cost(small(), training, published("h100", "bfloat16"), devices=4, input_s=0.5)
    assert waiting.step_s == pytest.approx(cost.step_s + 0.5)


def test_shards_take_less_memory_and_more_messages():
    with torch.device("meta"):
        model = sigvit.vit("H/14", depth=2)
    training, hardware = Training((3, 224, 224), 4096, dtype="bfloat16"), published("a100", "bfloat16")
    whole, shared = (training_cost(model, training, hardware, 64, sharded) for sharded in (False, True))
    assert shared.memory["weights"] == pytest.approx(whole.memory["weights"] / 64)
    assert shared.memory_bytes < whole.memory_bytes - 8 * 0.9 * whole.parameters  # most of the optimiser's 8 bytes a parameter go, and more
    assert shared.communication_s >= whole.communication_s
    assert whole.fits


def test_more_devices_share_the_batch_and_one_too_small_is_said_not_to_fit():
    with torch.device("meta"):
        model = sigvit.vit("L/16", depth=2)
    training, hardware = Training((3, 224, 224), 4096, dtype="bfloat16"), published("h100", "bfloat16")
    small_gpu = published("rtx3090", "bfloat16")
    assert training_cost(model, training, small_gpu).fits is False
    assert training_cost(model, replace(training, accumulation=64), small_gpu).fits is True
    few, many = (training_cost(model, training, hardware, devices) for devices in (8, 64))
    assert 4 < many.samples_s / few.samples_s <= 8  # updates and the price of an operation don't shrink with the share
    assert many.hours < few.hours


def test_compiling_helps_a_gpu():
    training = Training(SHAPE, 24, dtype="bfloat16")
    plain, compiled = (training_cost(small(), replace(training, compiled=flag), published("a100", "bfloat16")).step_s for flag in (False, True))
    assert compiled < plain


def test_the_table_of_gpus_is_in_sensible_units():
    for name in GPUS:
        half, full = published(name, "bfloat16"), published(name, "float32")
        assert 5e13 < half.peak_flops < 1e16
        assert full.peak_flops < half.peak_flops
        assert 2**34 < half.memory_bytes < 2**38
        assert half.source
        assert half.network_bytes_s <= half.link_bytes_s


def test_measured_numbers_are_of_this_processor():
    inputs = torch.randn(3, *SHAPE)
    model = small(dropout=0.3).train()
    model.encoder.blocks[0].eval()  # kept in evaluation mode while the rest trains
    before = [part.training for part in model.modules()]
    assert 0 < inference_seconds(model, inputs, rounds=2) < 10
    assert [part.training for part in model.modules()] == before
    assert measured_peak(repeats=2) > 1e8


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: published("h1000", "float32"), "no numbers of a GPU 'h1000'; there are b200, h200"),
        (lambda: published("rtx4090", "float64"), "no numbers of GPUs with float64, only with bfloat16 and float32"),
        (lambda: TrainingStep(small(), Training(SHAPE, 2, optimizer="lamb")), "A step with lamb is predicted, never measured"),
        (lambda: Training(SHAPE, 0), "batch is 0; it must be at least 1"),
        (lambda: Training(SHAPE, 1, dtype="float8"), "dtype is 'float8'; there are 'float32'"),
        (lambda: Training(SHAPE, 64).share(3), "64 can't be cut into 3 equal parts"),
        (lambda: calibrate([(nn.Linear(2, 3), Training((2,), 1))]), r"1 cases of dtypes \['float32'\] can't be calibrated on; give at least 6"),
        (lambda: training_cost(small(), Training(SHAPE, 4), Hardware("lone", 1.0, 0.0, Work()), devices=2), "Nothing says how fast lone reaches 1 others"),
    ],
)
def test_bad_input_gets_a_sentence(act, sentence):
    with pytest.raises(ValueError, match=sentence):
        act()
