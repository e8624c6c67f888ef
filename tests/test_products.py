"""Products in float32 by torch's other library: the same numbers and derivatives, and a setting that is put back."""

import weakref
from contextlib import suppress
from threading import Barrier, Thread

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from sigvit import products
from sigvit.model.attention import Attention
from sigvit.model.block import Block
from sigvit.products import SLOW_IN_MKL, WORTH_A_CALL, Product, _pays, fast_products, linear, product

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


@pytest.mark.parametrize("leading", [(), (3,)], ids=["one", "three stacked"])
def test_product_is_that_of_float64_and_so_are_its_gradients(leading):
    torch.manual_seed(0)
    found = factors(*leading)
    assert found[0].numel() * 131 > WORTH_A_CALL
    exact = [each.detach().double().requires_grad_() for each in found]
    answers = [product(*found), exact[0] @ exact[1] + exact[2][..., None, :]]
    torch.testing.assert_close(answers[0].double(), answers[1], rtol=0, atol=SUMS)
    weights = torch.randn_like(answers[0])
    for answer, inputs in zip(answers, (found, exact), strict=True):
        (answer * weights.to(answer)).sum().backward(inputs=inputs)
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=2 * SUMS)  # sums of up to 397 products: 9e-5


@pytest.mark.parametrize("leading", [(), (3,)], ids=["one", "three stacked"])
def test_product_has_first_and_second_derivatives(leading):
    inputs = factors(*leading, dtype=torch.float64, sizes=(5, 3, 2))
    assert gradcheck(Product.apply, inputs, check_batched_grad=True)
    assert gradgradcheck(Product.apply, inputs)
    assert gradcheck(lambda left, right: Product.apply(left, right, None), inputs[:2])


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of torch's own forward mode
def test_forward_derivatives_are_torchs_own():
    found = factors()
    tangents = tuple(torch.randn_like(each) for each in found)
    _, tangent = torch.func.jvp(product, tuple(found), tangents)
    expected = tangents[0] @ found[1] + found[0] @ tangents[1] + tangents[2]
    torch.testing.assert_close(tangent, expected, rtol=0, atol=2 * SUMS)


def test_product_is_mapped_over_whatever_is_stacked():
    left, right, bias = factors(dtype=torch.float64, sizes=(5, 3, 2))
    several = torch.randn(7, 2, dtype=torch.float64)
    mapped = torch.vmap(Product.apply, (None, None, 0))(left, right, several)
    torch.testing.assert_close(mapped, left @ right + several[:, None])
    stacks = torch.randn(5, 7, 3, dtype=torch.float64), torch.randn(3, 2, 7, dtype=torch.float64)
    expected = torch.einsum("nkm,mpk->knp", *stacks)
    torch.testing.assert_close(torch.vmap(Product.apply, (1, 2, None))(*stacks, bias), expected + bias)
    torch.testing.assert_close(torch.vmap(Product.apply, (1, 2, 0))(*stacks, several), expected + several[:, None])
    torch.testing.assert_close(torch.vmap(Product.apply, (1, 2, None))(*stacks, None), expected)
    many = torch.randn(3, 7, 5, dtype=torch.float64)
    gradients = torch.vmap(torch.func.grad(lambda each: Product.apply(each, right, bias).square().sum()), 1)(many.permute(2, 1, 0).contiguous())
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
                with fast_products(WORTH_A_CALL):
                    assert slow_in_mkl.fp32_precision == "bf16"
                assert slow_in_mkl.fp32_precision == "bf16"
                raise KeyError
            assert slow_in_mkl.fp32_precision == chosen
            with fast_products(WORTH_A_CALL - 1):
                assert slow_in_mkl.fp32_precision == chosen
    finally:
        slow_in_mkl.fp32_precision = before


def test_of_threads_that_are_inside_the_last_puts_the_setting_back(slow_in_mkl):
    entered, left, found = Barrier(2), Barrier(2), []

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


def test_only_large_products_of_float32_go_another_way(slow_in_mkl):
    left, right = torch.ones(2000, 50), torch.ones(50, 25)
    assert _pays(left, right)
    assert not _pays(left[:1999], right)
    assert not _pays(left.double(), right.double())
    assert not _pays(left.to("meta"), right.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not _pays(left, right)


@pytest.mark.parametrize(("name", "knows", "slow"), [("AMD EPYC", True, True), ("AMD EPYC", False, False), ("Intel(R) Xeon(R)", True, False)])
def test_the_processors_whose_products_are_slow(name, knows, slow, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, "avx512_vp2intersect": knows}, raising=False)
    monkeypatch.setattr(products, "_stays_exact", lambda: True)
    assert products._is_slow_in_mkl() == (slow and torch.backends.mkl.is_available() and hasattr(torch.backends.mkldnn, "matmul"))


def test_a_library_that_rounds_is_not_used(monkeypatch):
    if not SLOW_IN_MKL:
        pytest.skip("this CPU's own products are fast")
    monkeypatch.setattr(torch, "eye", lambda size: torch.full((size, size), 0.0).fill_diagonal_(1 + 2**-23))
    assert not products._stays_exact()


def test_what_is_kept_for_the_way_back_goes_with_it():
    left, right, _ = factors()
    kept = weakref.ref(rows := left * 2)
    answer = product(rows, right)
    del rows
    assert kept() is not None
    answer.sum().backward()
    assert kept() is None, "the whole graph would be kept until its end"


def test_operations_are_counted_there_and_back():
    left, right, _ = factors()
    with FlopCounterMode(display=False) as counter:
        product(left, right).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 397 * 211 * 131


def test_compiled_models_keep_torchs_own_products(slow_in_mkl):
    seen = []

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.append(_pays(x, weight.mT))
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
