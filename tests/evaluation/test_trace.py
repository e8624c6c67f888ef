"""What is read from shapes is what PyTorch's counter and real steps say."""

import copy
from threading import Event, Thread

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import sigvit
from sigvit.cost_command import flops_by_module
from sigvit.evaluation.trace import Work, trace_forward, trace_training

SMALL = {"width": 22, "depth": 3, "heads": 2, "mlp_width": 37}
MODELS = {
    "class token": {},
    "mean": {"pool": "mean"},
    "mean beside a class token and registers": {"pool": "mean", "class_token": True, "registers": 3},
    "map": {"pool": "map"},
    "map, class token": {"pool": "map", "class_token": True},
    "representation": {"representation": 13},
    "one block": {"depth": 1},
    "gates": {"gelu": "swiglu", "pool": "map"},
}


def small(**choices):
    return sigvit.vit("Ti/5", num_classes=17, in_channels=2, **({"image_size": (15, 35)} | SMALL | choices))


def counted(model, batch, backward=False):
    """PyTorch's own count; it knows attention where it runs as plain products."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs = model(batch)
        if backward:
            outputs.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("choices", MODELS.values(), ids=MODELS)
def test_forward_flops_closed_form_trace_and_pytorch_agree(choices):
    model = small(**choices)
    with torch.no_grad():
        expected = counted(model, torch.randn(1, 2, 15, 35))
    assert sum(flops_by_module(model).values()) == expected
    assert trace_forward(model, (2, 15, 35)).work.flops == expected
    assert trace_forward(model, (2, 15, 35), batch=7).work.flops == 7 * expected


@pytest.mark.parametrize("choices", MODELS.values(), ids=MODELS)
def test_training_flops_are_those_of_pytorch_but_for_the_scores_that_fused_attention_computes_again(choices):
    model = small(**choices)
    work = trace_training(model, (2, 15, 35), batch=5).work
    # Fused: 2 products forward, 5 backward. Plain: 2 and 4.
    assert work.matmul_flops + work.attention_flops * 6 / 7 == pytest.approx(counted(model, torch.randn(5, 2, 15, 35), backward=True), rel=1e-12)


def test_recordings_and_convolutions_are_counted_as_pytorch_does():
    signal = sigvit.signal_vit(3, n_times=170, depth=2)
    with torch.no_grad():
        assert trace_forward(signal, (3, 170)).work.flops == counted(signal, torch.randn(1, 3, 170))
    convolutions = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.GELU(), nn.Conv2d(6, 5, (2, 3)), nn.Flatten())
    assert trace_training(convolutions, (4, 11, 13), batch=7).work.flops == counted(convolutions, torch.randn(7, 4, 11, 13), backward=True)


def test_a_model_keeps_mode_weights_and_gradients():
    model = small(dropout=0.5).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace_training(model, (2, 15, 35))
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("trace", [trace_forward, trace_training])
def test_every_part_of_a_model_keeps_its_mode(trace):
    model = small(dropout=0.5).train()
    model.encoder.blocks[0].eval()  # kept in evaluation mode while the rest trains
    before = [part.training for part in model.modules()]
    trace(model, (2, 15, 35))
    assert [part.training for part in model.modules()] == before


@pytest.mark.parametrize("trace", [trace_forward, trace_training])
@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "rotary", "coordinates", "none"])
def test_a_traced_model_still_answers_with_numbers_and_trains(positions, trace):
    torch.manual_seed(0)
    model = small(positions=positions, width=24)
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(3, 2, 15, 35)
    untouched = copy.deepcopy(model)(images)
    trace(model, (2, 15, 35))
    logits = model(images)
    assert type(logits) is torch.Tensor
    assert torch.equal(logits, untouched)
    logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_shapes_alone_tell_as_much_as_the_model():
    with torch.device("meta"):
        shapes = small()
    assert trace_training(shapes, (2, 15, 35), batch=3) == trace_training(small(), (2, 15, 35), batch=3)


@pytest.mark.parametrize("gpu", [False, True])
def test_shapes_alone_tell_what_checkpointing_computes_again(gpu):
    choices = {"checkpointing": True, "dropout": 0.1, "stochastic_depth": 0.1}
    with torch.device("meta"):
        shapes = small(**choices)
    found = trace_training(shapes, (2, 15, 35), batch=3, gpu=gpu)
    assert found == trace_training(small(**choices), (2, 15, 35), batch=3, gpu=gpu)
    # Of the forward pass, the blocks come again; patches and head don't.
    forward, plain = flops_by_module(shapes), trace_training(small(), (2, 15, 35), batch=3)
    assert found.work.flops - plain.work.flops == 3 * (sum(forward.values()) - forward["patches"] - forward["head"])


@pytest.mark.slow
def test_activations_grow_with_the_batch_and_checkpointing_spares_them():
    plain, sparing = small(depth=5), small(depth=5, checkpointing=True)
    one, two, three = (trace_training(plain, (2, 15, 35), batch=batch).kept_bytes for batch in (11, 22, 33))
    assert two - one == three - two > 0
    kept = trace_training(sparing, (2, 15, 35), batch=11)
    assert kept.kept_bytes < 0.6 * one
    assert kept.work.flops > trace_training(plain, (2, 15, 35), batch=11).work.flops


def test_bfloat16_halves_what_products_keep_and_changes_no_arithmetic():
    model = small()
    half, full = (trace_training(model, (2, 15, 35), batch=13, dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert half.work.flops == full.work.flops
    assert half.kept_bytes < full.kept_bytes


# In the last block the class token alone asks, which products of float32 leave to the kernel.
@pytest.mark.parametrize(("dtype", "way", "size", "queries"), [("float32", "SLOW_IN_MKL", 4, 2 * 78), ("bfloat16", "FAST_BFLOAT16", 2, 2 * 78 + 1)])
def test_weights_of_pairs_are_bytes_where_this_cpu_keeps_them(dtype, way, size, queries, monkeypatch):
    model = small(width=26, image_size=(35, 55))  # 78 tokens: more than the few that every CPU attends to in products
    on_gpu = trace_training(model, (2, 35, 55), batch=11, dtype=dtype, gpu=True)
    for is_kept in (True, False):
        monkeypatch.setattr("sigvit.model.attention.FAST_BFLOAT16", False)
        monkeypatch.setattr("sigvit.model.attention.SLOW_IN_MKL", False)
        monkeypatch.setattr(f"sigvit.model.attention.{way}", is_kept)
        here = trace_training(model, (2, 35, 55), batch=11, dtype=dtype)
        # Of each sample, head and query a weight for every token, in place of the one float32 number that the fused kernel keeps.
        assert here.kept_bytes - on_gpu.kept_bytes == is_kept * 11 * 2 * queries * (78 * size - 4)
        assert here.work == on_gpu.work


def test_the_peak_of_a_plain_chain_is_what_one_counts_by_hand():
    """Linear 5 → 7 without bias, batch 2: forward gives 2 × 7 floats; what else is alive is cross-entropy's."""
    trace = trace_forward(nn.Linear(5, 7, bias=False), (5,), batch=2)
    assert trace.peak_bytes == trace.kept_bytes == 2 * 7 * 4
    assert trace.work == Work(matmul_flops=2 * 2 * 5 * 7, matmul_bytes=4 * (2 * 5 + 5 * 7 + 2 * 7), operations=1)


def test_dropout_is_one_operation_on_a_gpu():
    model = nn.Sequential(nn.Linear(5, 7), nn.Dropout(0.5))
    many, one = (trace_training(model, (5,), batch=11, gpu=gpu).work for gpu in (False, True))
    assert one.operations < many.operations
    assert one.bytes < many.bytes


class Meeting(nn.Module):
    """Says that its step is under way, and waits so long for something else."""

    def __init__(self, begins, waits):
        super().__init__()
        self.linear, self.begins, self.waits = nn.Linear(5, 3), begins, waits

    def forward(self, x):
        self.begins()
        self.waits()
        return functional.dropout(self.linear(x), 0.1, self.training)


def test_two_traces_in_two_threads_leave_dropout_as_it_was(monkeypatch):
    monkeypatch.setattr(functional, "dropout", functional.dropout)  # put back for the other tests if this one fails
    before, second_begins, first_ended = functional.dropout, Event(), Event()
    second = Thread(target=lambda: trace_training(Meeting(second_begins.set, lambda: first_ended.wait(5)), (5,), gpu=True))
    trace_training(Meeting(second.start, lambda: second_begins.wait(0.2)), (5,), gpu=True)
    first_ended.set()
    second.join()
    assert functional.dropout is before
