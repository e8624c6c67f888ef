"""Products in float32 by torch's other library: the same numbers and derivatives, and a setting that is put back."""

import os
import subprocess
import sys
import weakref
from contextlib import nullcontext, suppress
from threading import Barrier, Thread

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from sigvit import products
from sigvit.model.attention import Attention, _are_few
from sigvit.model.block import Block
from sigvit.products import ROWS, SLOW_IN_MKL, WORTH_A_CALL, ByOneDNN, Product, _pays, fast_products, linear, product

# Sums of 211 products of normal draws in float32: in 60 draws of all entries the worst was off by 5e-5.
SUMS = 1e-4


def factors(*leading: int, dtype: torch.dtype = torch.float32, sizes: tuple[int, int, int] = (397, 211, 131)) -> list[torch.Tensor]:
    n, m, p = sizes
    return [torch.randn(*leading, *shape, dtype=dtype, requires_grad=True) for shape in ((n, m), (m, p), (p,))]


@pytest.fixture
def slow_in_mkl(monkeypatch):
    """As on a CPU where torch's own products are slow; for what doesn't depend on the numbers, since elsewhere they might be rounded."""
    if not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("this torch has no setting for oneDNN's products")
    monkeypatch.setattr(products, "SLOW_IN_MKL", True)
    return torch.backends.mkldnn.matmul


@pytest.mark.parametrize(("leading", "packed"), [((), False), ((3,), False), ((), True)], ids=["one", "three stacked", "packed"])
def test_product_is_that_of_float64_and_so_are_its_gradients(leading, packed):
    torch.manual_seed(0)
    found = factors(*leading)
    assert ROWS < 397, "then the packed one is divided"
    exact = [each.detach().double().requires_grad_() for each in found]
    answers = [Product.apply(*found, packed), exact[0] @ exact[1] + exact[2][..., None, :]]
    torch.testing.assert_close(answers[0].double(), answers[1], rtol=0, atol=SUMS)
    weights = torch.randn_like(answers[0])
    for answer, inputs in zip(answers, (found, exact), strict=True):
        (answer * weights.to(answer)).sum().backward(inputs=inputs)
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=2 * SUMS)  # sums of up to 397 products: 9e-5


@pytest.mark.parametrize("leading", [(), (3,)], ids=["one", "three stacked"])
def test_product_has_first_and_second_derivatives(leading):
    inputs = factors(*leading, dtype=torch.float64, sizes=(5, 3, 2))
    assert gradcheck(lambda *own: Product.apply(*own, False), inputs, check_batched_grad=True)
    assert gradgradcheck(lambda *own: Product.apply(*own, False), inputs)
    assert gradcheck(lambda left, right: Product.apply(left, right, None, False), inputs[:2])


def test_a_packed_batch_is_divided_so_that_shapes_come_again(monkeypatch, slow_in_mkl):
    monkeypatch.setattr(products, "fast_products", lambda multiply_adds: nullcontext())  # numbers are looked at
    found = []
    inner = torch.mm
    monkeypatch.setattr(torch, "mm", lambda left, right: found.append(tuple(left.shape)) or inner(left, right))
    x, weight = torch.randn(1, 700, 211, requires_grad=True), torch.randn(263, 211, requires_grad=True)
    answer = linear(x, weight, None)
    torch.testing.assert_close(answer, functional.linear(x, weight), rtol=0, atol=SUMS)
    answer.sum().backward()
    assert found == [(512, 211), (188, 211), (512, 263), (188, 263), (263, 512)]


def test_packed_rows_are_differentiated_for_many_at_once():
    left, right, _ = factors()
    answer = Product.apply(left, right, None, True)
    several = torch.randn(3, *answer.shape)
    (found,) = torch.autograd.grad(answer, left, several, is_grads_batched=True)
    torch.testing.assert_close(found, several @ right.detach().T, rtol=0, atol=SUMS)


def test_a_gradient_taken_under_autocast_is_that_of_the_way_there():
    left, right, bias = factors()
    answer = Product.apply(left, right, bias, False)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(answer.sum(), left)
    torch.testing.assert_close(found, right.detach().sum(1).expand_as(left), rtol=0, atol=SUMS)


def test_weights_get_gradients_of_their_own_layout():
    x, weight = torch.randn(2000, 50), torch.randn(60, 50, requires_grad=True)
    (gradient,) = torch.autograd.grad(Product.apply(x, weight.mT, None, False).sum(), weight)
    assert gradient.stride() == weight.stride()


def test_packed_rows_have_second_derivatives(monkeypatch):
    monkeypatch.setattr(products, "ROWS", 4)
    inputs = factors(dtype=torch.float64, sizes=(11, 3, 2))
    assert gradcheck(lambda *own: Product.apply(*own, True), inputs)
    assert gradgradcheck(lambda *own: Product.apply(*own, True), inputs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of torch's own forward mode
def test_forward_derivatives_are_torchs_own():
    found = factors()
    tangents = tuple(torch.randn_like(each) for each in found)
    _, tangent = torch.func.jvp(product, tuple(found), tangents)
    expected = tangents[0] @ found[1] + found[0] @ tangents[1] + tangents[2]
    torch.testing.assert_close(tangent, expected, rtol=0, atol=2 * SUMS)


def test_product_is_mapped_over_whatever_is_stacked():
    def mapped_product(*own: torch.Tensor | None) -> torch.Tensor:
        return Product.apply(*own, False)

    left, right, bias = factors(dtype=torch.float64, sizes=(5, 3, 2))
    several = torch.randn(7, 2, dtype=torch.float64)
    mapped = torch.vmap(mapped_product, (None, None, 0))(left, right, several)
    torch.testing.assert_close(mapped, left @ right + several[:, None])
    stacks = torch.randn(5, 7, 3, dtype=torch.float64), torch.randn(3, 2, 7, dtype=torch.float64)
    expected = torch.einsum("nkm,mpk->knp", *stacks)
    torch.testing.assert_close(torch.vmap(mapped_product, (1, 2, None))(*stacks, bias), expected + bias)
    torch.testing.assert_close(torch.vmap(mapped_product, (1, 2, 0))(*stacks, several), expected + several[:, None])
    torch.testing.assert_close(torch.vmap(mapped_product, (1, 2, 1))(*stacks, several.T), expected + several[:, None])
    torch.testing.assert_close(torch.vmap(mapped_product, (1, 2, None))(*stacks, None), expected)
    stacks_of_two = [each.expand(2, *each.shape) for each in stacks]
    both = torch.vmap(mapped_product, (2, 3, None))(*stacks_of_two, bias.expand(2, -1))
    torch.testing.assert_close(both, (expected + bias)[:, None].expand(-1, 2, -1, -1))
    many = torch.randn(3, 7, 5, dtype=torch.float64)
    gradients = torch.vmap(torch.func.grad(lambda each: mapped_product(each, right, bias).square().sum()), 1)(many.permute(2, 1, 0).contiguous())
    expected = torch.stack([torch.func.grad(lambda each: (each @ right + bias).square().sum())(many[:, k].T.contiguous()) for k in range(7)])
    torch.testing.assert_close(gradients, expected)


def test_linear_maps_are_torchs():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 401, 211), torch.randn(131, 211), torch.randn(131)
    torch.testing.assert_close(linear(x, weight, bias), functional.linear(x, weight, bias), rtol=0, atol=SUMS)
    stacked = linear(x, weight.expand(2, -1, -1).contiguous(), bias.expand(2, -1).contiguous())
    torch.testing.assert_close(stacked, functional.linear(x, weight, bias), rtol=0, atol=SUMS)
    # One alone is not copied to be stacked.
    torch.testing.assert_close(linear(x[:1], weight[None], bias[None]), functional.linear(x[:1], weight, bias), rtol=0, atol=SUMS)
    assert linear(x[:1, 0, 0], weight[None], None).shape == (1, 131)
    assert linear(torch.zeros(5, 3, 2), torch.zeros(1, 7, 2), None).shape == (5, 3, 7), "one model takes all there is"
    # One row of tokens, as a packed batch is.
    torch.testing.assert_close(linear(x[0, :1], weight, bias), functional.linear(x[0, :1], weight, bias), rtol=0, atol=SUMS)


class Quantised(torch.Tensor):
    """A weight that knows one function alone, as quantised ones do."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is functional.linear:
            x, weight, *bias = args
            return functional.linear(x, weight.as_subclass(torch.Tensor), *bias)
        if function in (torch.Tensor.as_subclass, torch.Tensor.ndim.__get__, torch.Tensor.shape.__get__, torch.Tensor.__len__):
            return super().__torch_function__(function, types, args, kwargs or {})
        raise NotImplementedError(function)


@pytest.mark.parametrize("rows", [3, 2000])
def test_weights_of_another_type_are_given_to_torch_as_they_are(rows, slow_in_mkl):
    x, weight = torch.ones(rows, 50), torch.ones(60, 50)
    assert torch.equal(linear(x, weight.as_subclass(Quantised), None), functional.linear(x, weight))


def test_a_block_trains_alike_by_either_library(monkeypatch):
    torch.manual_seed(0)
    block, x = Block(width=64, heads=2, mlp_width=256), torch.randn(3, 197, 64)
    found = []
    for slow in (SLOW_IN_MKL, False):
        monkeypatch.setattr(products, "SLOW_IN_MKL", slow)
        monkeypatch.setattr("sigvit.model.attention.SLOW_IN_MKL", slow)
        answer = block(x)
        found.append([answer, *torch.autograd.grad(answer.square().sum(), list(block.parameters()))])
    for ours, plain in zip(*found, strict=True):
        # Two roundings of the same sums: in 60 draws the worst entry differed by 1.2e-6 of the largest.
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5 * float(plain.detach().abs().max()) + 1e-6)


def test_the_setting_is_put_back(slow_in_mkl):
    before = slow_in_mkl.fp32_precision
    try:
        for chosen in ("none", "ieee"):
            slow_in_mkl.fp32_precision = chosen
            with suppress(KeyError), fast_products(WORTH_A_CALL):
                assert slow_in_mkl.fp32_precision == "bf16"
                raise KeyError
            assert slow_in_mkl.fp32_precision == chosen
            with fast_products(WORTH_A_CALL - 1):
                assert slow_in_mkl.fp32_precision == chosen
    finally:
        slow_in_mkl.fp32_precision = before


def test_what_follows_the_setting_of_all_of_torch_goes_on_following_it(slow_in_mkl):
    before = torch.backends.fp32_precision
    try:
        torch.backends.fp32_precision = "ieee"
        with fast_products(WORTH_A_CALL):
            pass
        torch.backends.fp32_precision = "tf32"
        assert slow_in_mkl.fp32_precision == "tf32"
    finally:
        torch.backends.fp32_precision = before


LINES = [line for method in (ByOneDNN.__enter__, ByOneDNN.__exit__) for *_, line in method.__code__.co_lines() if line]


@pytest.mark.parametrize("chosen", ["none", "ieee"])
@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_after_an_interrupt_at_any_line_the_next_product_puts_the_setting_back(line, chosen, slow_in_mkl):
    def interrupt(frame, event, _):
        if event == "line" and frame.f_lineno == line:
            raise KeyboardInterrupt
        return interrupt

    codes, traced = (ByOneDNN.__enter__.__code__, ByOneDNN.__exit__.__code__), sys.gettrace()
    before, slow_in_mkl.fp32_precision = slow_in_mkl.fp32_precision, chosen
    try:
        sys.settrace(lambda frame, event, _: interrupt if frame.f_code in codes else None)
        try:
            with suppress(KeyboardInterrupt), fast_products(WORTH_A_CALL):
                pass
        finally:
            sys.settrace(traced)
        with fast_products(WORTH_A_CALL):
            pass
        assert slow_in_mkl.fp32_precision == chosen
    finally:
        slow_in_mkl.fp32_precision = before


def test_of_threads_that_are_inside_the_last_puts_the_setting_back(slow_in_mkl):
    entered, left, found = Barrier(2, timeout=60), Barrier(2, timeout=60), []

    def other() -> None:
        with fast_products(WORTH_A_CALL):
            entered.wait()
            left.wait()
            found.append(slow_in_mkl.fp32_precision)

    before, thread = slow_in_mkl.fp32_precision, Thread(target=other)
    with fast_products(WORTH_A_CALL):
        thread.start()
        entered.wait()
    left.wait()
    thread.join()
    assert found == ["bf16"]
    assert slow_in_mkl.fp32_precision == before


FORK = """
import os, sys, threading
from sigvit.products import BY_ONEDNN
inside, end = threading.Event(), threading.Event()

def work():
    with BY_ONEDNN, BY_ONEDNN._lock:
        inside.set()
        end.wait(60)

thread = threading.Thread(target=work)
thread.start()
inside.wait(60)
child = os.fork()
if child == 0:
    import torch
    before = torch.backends.mkldnn.matmul.fp32_precision
    with BY_ONEDNN:
        pass
    os._exit(0 if before == torch.backends.mkldnn.matmul.fp32_precision == "none" else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
end.set()
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_forked_process_begins_outside(slow_in_mkl):
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=50)


BLOCKS = {
    "a device": "with torch.device('meta'):",
    "a default device": "torch.set_default_device('meta')\nif True:",
    "fake tensors": "from torch._subclasses.fake_tensor import FakeTensorMode\nwith FakeTensorMode():",
    "autocast": "with torch.autocast('cpu', torch.bfloat16):",
    "another number format": "torch.set_default_dtype(torch.bfloat16)\nif True:",
    "a counter": "from torch.utils.flop_counter import FlopCounterMode\nwith FlopCounterMode(display=False):",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_the_processor_is_looked_at_alike_wherever_the_import_stands(block):
    code = f"import torch\n{block}\n    from sigvit.products import SLOW_IN_MKL\nprint(SLOW_IN_MKL)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == str(SLOW_IN_MKL)


def test_only_large_products_of_float32_go_another_way(slow_in_mkl):
    left, right = torch.ones(2000, 50), torch.ones(50, 25)
    assert _pays(left, right, 25, None)
    assert _pays(left, right, 25, torch.ones(25))
    assert not _pays(left, right, 25, torch.ones(25).double())
    assert not _pays(left[:1999], right, 25, None)
    assert not _pays(left.double(), right.double(), 25, None)
    assert not _pays(left.to("meta"), right.to("meta"), 25, None)
    assert not _pays(left.to_sparse(), right, 25, None)
    assert not _pays(left.as_subclass(Quantised), right, 25, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert not _pays(left, right, 25, None)


@pytest.mark.parametrize(
    ("name", "knows", "keeps", "slow"),
    [("AMD EPYC", True, True, True), ("AMD EPYC", False, True, False), ("AMD EPYC", True, False, False), ("Intel(R) Xeon(R)", True, True, False)],
)
def test_the_processors_whose_products_are_slow(name, knows, keeps, slow, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, "avx512_vp2intersect": knows}, raising=False)
    monkeypatch.setattr(products, "_keeps_digits", lambda: keeps)
    assert products._is_slow_in_mkl() == (slow and torch.backends.mkl.is_available() and hasattr(torch.backends.mkldnn, "matmul"))


@pytest.mark.parametrize("axes", [2, 3])
def test_a_library_that_rounds_is_not_used(axes, monkeypatch):
    """Nor one that rounds batched products alone."""
    if not SLOW_IN_MKL:
        pytest.skip("this CPU's own products are fast")
    assert products._keeps_digits()
    inner = torch.Tensor.__matmul__

    def rounded(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return inner(left.bfloat16(), right.bfloat16()).float() if left.ndim == axes else inner(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not products._keeps_digits()


def test_what_is_kept_for_the_way_back_goes_with_it():
    left, right, _ = factors()
    kept = weakref.ref(rows := left * 2)
    answer = product(rows, right)
    del rows
    assert kept() is not None
    answer.sum().backward()
    assert kept() is None, "the whole graph would be kept until its end"


def test_only_what_a_gradient_needs_is_kept():
    left, right, _ = factors()
    kept = weakref.ref(rows := left * 2)
    answer = Product.apply(rows, right.detach(), None, False)
    del rows
    assert kept() is None, "frozen weights don't ask for what they were multiplied with"
    answer.sum().backward()
    torch.testing.assert_close(left.grad, 2 * right.detach().sum(1).expand(397, -1), rtol=0, atol=SUMS)


def test_operations_are_counted_there_and_back():
    left, right, _ = factors()
    with FlopCounterMode(display=False) as counter:
        product(left, right).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 397 * 211 * 131


def test_compiled_models_keep_torchs_own_products(slow_in_mkl):
    seen = []

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.append(_pays(x, weight, 25, None))
        return linear(x, weight, None)

    x, weight = torch.randn(2000, 50), torch.randn(25, 50)
    torch.testing.assert_close(compiled(x, weight), functional.linear(x, weight), rtol=0, atol=SUMS)
    assert seen == [False]


def test_attention_of_this_many_tokens_is_that_of_torchs_kernel(monkeypatch):
    torch.manual_seed(0)
    attend, x = Attention(64, 2), torch.randn(3, 101, 64, requires_grad=True)
    found = []
    for few in (200, 0):
        monkeypatch.setattr("sigvit.model.attention.FEW_TOKENS", few)
        monkeypatch.setattr("sigvit.model.attention.FEW_TOKENS_FAST", few)
        answer = attend(x)
        found.append([answer, *torch.autograd.grad(answer.square().sum(), [x, *attend.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        # As above: 1.0e-6.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.detach().abs().max()) + 1e-6)


def test_frozen_weights_get_no_gradient():
    torch.manual_seed(0)
    layer = nn.Linear(50, 60)
    layer.weight.requires_grad_(False)
    x = torch.randn(2000, 50, requires_grad=True)
    linear(x, layer.weight, layer.bias).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((60,), 2000.0))
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(2000, -1), rtol=0, atol=SUMS)


def test_attention_keeps_the_weights_of_pairs_where_they_are_few(monkeypatch):
    monkeypatch.setattr("sigvit.model.attention.SLOW_IN_MKL", True)
    for heads, most in ((1, 200), (4, 192), (8, 96), (32, 48)):
        assert [_are_few(torch.ones(2, tokens, 64, requires_grad=True), heads) for tokens in (most, most + 1)] == [True, False]
    monkeypatch.setattr("sigvit.model.attention.SLOW_IN_MKL", False)
    assert [_are_few(torch.ones(2, tokens, 64, requires_grad=True), 1) for tokens in (48, 49)] == [True, False]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_traced_block_can_be_saved(tmp_path):
    block, x = Block(64, 2, 64), torch.randn(2, 97, 64)
    traced = torch.jit.trace(block, x)
    traced.save(str(tmp_path / "block.pt"))
    torch.testing.assert_close(traced(x), block(x), rtol=0, atol=1e-5)  # two roundings of numbers of up to 4
