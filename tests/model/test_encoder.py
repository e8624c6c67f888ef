"""The arithmetic of the encoder, its start and its parts that are off by default."""

import copy

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from sigvit.model.attention import AttentionOfFewTokens, attention_of_few_tokens, attention_weights, merge_heads, split_heads
from sigvit.model.block import branch
from sigvit.model.dropout import dropout, dropout_factors, dropout_seeds
from sigvit.model.encoder import Attention, Block, Encoder, Mlp, attention

SUMS = 1e-6  # float32 sums of a few dozen products in another order


@pytest.mark.parametrize("leading", [(2, 3), (5, 2, 3)], ids=["one model", "five stacked"])
def test_attention_is_the_weighted_mean_that_its_weights_say(leading):
    query, key, value = (torch.randn(*leading, tokens, 7) for tokens in (5, 11, 11))
    mask = torch.rand(*leading[:-1], 11) > 0.3
    for real in (None, mask):
        weights = attention_weights(query, key, real)
        torch.testing.assert_close(weights.sum(-1), torch.ones(*leading, 5), rtol=0, atol=SUMS)
        torch.testing.assert_close(attention(query, key, value, real), weights @ value, rtol=0, atol=SUMS)
    assert (weights.masked_select(~mask[..., None, None, :]) == 0).all()


@pytest.mark.parametrize("mask", [None, torch.ones(2, 5, dtype=torch.bool)], ids=["few tokens", "a mask"])
def test_second_derivatives_are_there_where_the_docstring_says(mask):
    attend = Attention(6, 2).double()
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(lambda x: attend(x, mask), torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True))


def test_attention_to_nothing_is_zero():
    x = torch.randn(2, 3, 5, 7)
    assert (attention(x, x, x, torch.zeros(2, 5, dtype=torch.bool)) == 0).all()


@pytest.mark.parametrize("most", [1024, 7], ids=["products", "torch's kernel"])
@pytest.mark.parametrize("leading", [(2, 3), (5, 2, 3)], ids=["one model", "five stacked"])
def test_attention_in_bfloat16_is_that_of_the_same_numbers_but_for_its_rounding(most, leading, monkeypatch):
    monkeypatch.setattr("sigvit.model.attention.FAST_BFLOAT16", True)
    monkeypatch.setattr("sigvit.model.attention.MOST_IN_PRODUCTS", most)
    torch.manual_seed(0)  # of 400 draws the worst is off by .024 and .099: scores are rounded too
    rounded = [torch.randn(*leading, tokens, 7).bfloat16().requires_grad_() for tokens in (5, 11, 11)]
    exact = [each.detach().double().requires_grad_() for each in rounded]
    answers = [attention(*each) for each in (rounded, exact)]
    torch.testing.assert_close(answers[0].double(), answers[1], rtol=0, atol=2**-6)  # a few roundings to 8 bits
    for answer in answers:
        answer.square().sum().backward()
    for ours, theirs in zip(rounded, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=2**-4)  # the same, of gradients that are larger


def test_heads_are_split_and_merged_without_loss():
    x = torch.randn(2, 5, 21)
    assert torch.equal(merge_heads(split_heads(x, 3)), x)
    assert torch.equal(split_heads(x, 3)[1, 2, 4], x[1, 4, 14:])


def test_multi_head_attention_is_the_naive_formula():
    module, x = Attention(width=6, heads=2), torch.randn(3, 5, 6)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    q, k, v = (x @ matrix.T + bias for matrix, bias in zip(module.qkv.weight.chunk(3), module.qkv.bias.chunk(3), strict=True))
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = q[..., head] @ k[..., head].transpose(1, 2) / 3**0.5
        heads.append(scores.softmax(-1) @ v[..., head])
    expected = torch.cat(heads, -1) @ module.out.weight.T + module.out.bias
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)  # values near 10 here


def test_other_tokens_ask_the_same_way():
    module, x = Attention(width=6, heads=2), torch.randn(3, 5, 6)
    torch.testing.assert_close(module(x, query=x[:, 1:3]), module(x)[:, 1:3], rtol=0, atol=SUMS)


def test_queries_keys_and_values_start_as_three_matrices():
    torch.manual_seed(0)
    module = Attention(width=768, heads=12)
    bound = (6 / (768 + 768)) ** 0.5
    for matrix in (*module.qkv.weight.chunk(3), module.out.weight):
        assert matrix.abs().max() <= bound
        # 589824 draws: the standard deviation, 0.0361, is known to about 0.1 %
        assert matrix.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert not module.qkv.bias.any()
    assert not module.out.bias.any()


def test_the_mlp_starts_as_in_the_paper():
    mlp = Mlp(width=97, hidden=389)
    assert mlp.inner.weight.abs().max() <= (6 / (97 + 389)) ** 0.5
    assert 0 < mlp.inner.bias.abs().max() < 1e-5
    assert 0 < mlp.outer.bias.abs().max() < 1e-5


def test_a_block_is_pre_norm_with_two_residuals():
    block, x = Block(width=6, heads=2, mlp_width=11), torch.randn(3, 5, 6)
    middle = x + block.attention(block.norm_attention(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm_mlp(middle)), rtol=0, atol=SUMS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_a_mask_of_numbers_is_refused(dtype):
    encoder, x, mask = Encoder(6, depth=1, heads=2, mlp_width=11), torch.randn(3, 5, 6), torch.ones(3, 5, dtype=dtype)
    for ask in (encoder, encoder.attention_maps):
        with pytest.raises(TypeError, match=f"The mask of the tokens is {dtype}; give bool, True = real"):
            ask(x, mask)


@pytest.mark.parametrize("outputs", [slice(0, 1), slice(2, 3), slice(1, None)])
@pytest.mark.parametrize("masked", [False, True])
def test_computing_only_the_tokens_that_are_needed_is_exact(outputs, masked):
    torch.manual_seed(0)
    encoder, x = Encoder(width=6, depth=3, heads=2, mlp_width=11, layer_scale=0.5).double(), torch.randn(3, 7, 6, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[7], [5], [3]]) if masked else None
    # float64: the same sums, perhaps in another order
    torch.testing.assert_close(encoder(x, mask, outputs), encoder(x, mask)[:, outputs], rtol=0, atol=1e-13)


def linear_layers(module: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear)}


@pytest.mark.parametrize("outputs", [None, slice(0, 1), slice(2, None)])
def test_hooks_on_linear_layers_see_them_work_and_change_no_number(outputs):
    torch.manual_seed(0)
    encoder, x, seen = Encoder(width=6, depth=2, heads=2, mlp_width=11).double(), torch.randn(3, 7, 6, dtype=torch.float64), {}
    before = encoder(x, None, outputs)
    for name, layer in linear_layers(encoder).items():
        layer.register_forward_hook(lambda layer, inputs, output, name=name: seen.update({name: output.shape}))
    # float64: queries and keys of the last block come from one product instead of two
    torch.testing.assert_close(encoder(x, None, outputs), before, rtol=0, atol=1e-13)
    assert seen.keys() == linear_layers(encoder).keys()
    assert seen["blocks.1.attention.qkv"] == (3, 7, 18)


class Beside(torch.nn.Module):
    """A product beside a layer that isn't changed, as others' low-rank additions wrap it; it has no weight to read."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.layer, self.product = layer, torch.nn.Parameter(torch.randn_like(layer.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.product.mT


@pytest.mark.parametrize("outputs", [None, slice(0, 1), slice(2, None)])
def test_what_stands_in_a_linear_layers_place_is_called(outputs):
    torch.manual_seed(0)
    encoder, x = Encoder(width=6, depth=2, heads=2, mlp_width=11).double(), torch.randn(3, 7, 6, dtype=torch.float64)
    wrapped = copy.deepcopy(encoder)
    for name, layer in linear_layers(encoder).items():
        beside = Beside(wrapped.get_submodule(name))
        wrapped.set_submodule(name, beside)
        layer.weight.data += beside.product.data
    # float64 sums in another order
    torch.testing.assert_close(wrapped(x, None, outputs), encoder(x, None, outputs), rtol=0, atol=1e-12)


def test_gradients_of_the_needed_tokens_are_exact():
    torch.manual_seed(0)
    encoder, x = Encoder(width=6, depth=2, heads=2, mlp_width=11).double(), torch.randn(3, 7, 6, dtype=torch.float64)
    every = torch.autograd.grad(encoder(x)[:, :1].square().sum(), list(encoder.parameters()))
    needed = torch.autograd.grad(encoder(x, None, slice(0, 1)).square().sum(), list(encoder.parameters()))
    # float64: the same sums, perhaps in another order
    torch.testing.assert_close(needed, every, rtol=0, atol=1e-12)


def test_checkpointing_gives_the_same_numbers_and_gradients_with_dropout_too():
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = Encoder(width=6, depth=3, heads=2, mlp_width=11, dropout=0.3, stochastic_depth=0.3, checkpointing=checkpointing)
        x = torch.randn(5, 7, 6, requires_grad=True)
        result = encoder(x, None, slice(0, 1))
        found.append((result, *torch.autograd.grad(result.square().sum(), [x, *encoder.parameters()])))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_stochastic_depth_skips_the_branch_of_a_whole_sample_and_keeps_the_mean():
    torch.manual_seed(0)
    found = branch(torch.ones(997, 3, 5), None, rate=0.0, stochastic_depth=0.3, training=True)
    kept = found[:, 0, 0] > 0
    assert torch.equal(found, kept[:, None, None].expand(-1, 3, 5) * torch.tensor(1 / 0.7))
    # 997 draws: the rate is known to about 0.015
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.05)


def test_stochastic_depth_rises_linearly():
    encoder = Encoder(width=6, depth=3, heads=2, mlp_width=11, stochastic_depth=0.4)
    assert [block.stochastic_depth for block in encoder.blocks] == pytest.approx([0.0, 0.2, 0.4], abs=1e-7)  # float32 rates


@pytest.mark.parametrize(("rates", "expected"), [((0.3, 0.3), [0.3, 0.3, 0.3]), ((0.4, 0.2), [0.4, 0.3, 0.2])])
def test_two_rates_of_stochastic_depth_are_the_first_block_s_and_the_last_s(rates, expected):
    encoder = Encoder(width=6, depth=3, heads=2, mlp_width=11, stochastic_depth=rates)
    assert [block.stochastic_depth for block in encoder.blocks] == pytest.approx(expected, abs=1e-7)  # float32 rates


def test_dropout_layer_scale_and_stochastic_depth_are_off_by_default():
    encoder, x = Encoder(width=6, depth=2, heads=2, mlp_width=11), torch.randn(3, 5, 6)
    assert torch.equal(encoder.train()(x), encoder.eval()(x))
    assert not any("scale" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("name", ["dropout", "stochastic_depth"])
def test_dropout_and_stochastic_depth_act_in_training_alone(name):
    encoder, x = Encoder(width=6, depth=2, heads=2, mlp_width=11, **{name: 0.5}), torch.randn(3, 5, 6)
    assert not torch.equal(encoder.train()(x), encoder(x))
    assert torch.equal(encoder.eval()(x), encoder(x))


def test_attention_maps_are_what_the_blocks_use():
    encoder, x = Encoder(width=6, depth=2, heads=2, mlp_width=11), torch.randn(3, 5, 6)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    maps = encoder.attention_maps(x, mask)
    assert maps.shape == (3, 2, 2, 5, 5)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 2, 5), rtol=0, atol=SUMS)
    assert (maps[1, ..., 3:] == 0).all()
    second = encoder.blocks[1]
    expected = second.attention.weights(second.norm_attention(encoder.blocks[0](x, mask)), mask)
    assert torch.equal(maps[:, 1], expected)


def test_heads_that_do_not_divide_the_width_and_an_unknown_gelu_are_refused():
    with pytest.raises(ValueError, match="7 can't be split among 2 heads"):
        Encoder(width=7, depth=1, heads=2, mlp_width=11)
    with pytest.raises(ValueError, match=r"'erf' .*, 'tanh' .* and 'swiglu'"):
        Mlp(3, 5, gelu="relu")


def test_the_two_kinds_of_gelu_differ_a_little():
    torch.manual_seed(0)
    exact, tanh = Mlp(6, 11), Mlp(6, 11, gelu="tanh")
    tanh.load_state_dict(exact.state_dict())
    x = torch.randn(3, 6)
    assert 0 < (exact(x) - tanh(x)).abs().max() < 1e-2


def test_start_values_are_drawn_layer_by_layer():
    """A seed's model stays what it was; the first two draws are those of torch's own layers."""
    torch.manual_seed(0)
    mlp = Mlp(6, 11)
    torch.manual_seed(0)
    layers = torch.nn.Linear(6, 11), torch.nn.Linear(11, 6)
    for layer, ours in zip(layers, (mlp.inner, mlp.outer), strict=True):
        torch.nn.init.xavier_uniform_(layer.weight)
        torch.nn.init.normal_(layer.bias, std=1e-6)
        assert torch.equal(ours.weight, layer.weight)
        assert torch.equal(ours.bias, layer.bias)


def test_a_gates_silu_opens_its_hidden_unit():
    torch.manual_seed(0)
    mlp, x = Mlp(6, 11, gelu="swiglu"), torch.randn(3, 5, 6)
    gate, values = (x @ matrix.T + bias for matrix, bias in zip(mlp.inner.weight.split(11), mlp.inner.bias.split(11), strict=True))
    # float32 sums of eleven terms near 1.
    torch.testing.assert_close(mlp(x), mlp.outer(gate * gate.sigmoid() * values), rtol=0, atol=1e-6)


def test_gates_start_as_wide_as_what_they_open():
    """Each of the two matrices is Xavier's, whose bound is √(6 / (inputs + outputs)); of one matrix of both it would be smaller."""
    torch.manual_seed(0)
    largest = [half.abs().max().item() for half in Mlp(60, 100, gelu="swiglu").inner.weight.split(100)]
    assert largest == pytest.approx([(6 / 160) ** 0.5] * 2, rel=0.01)


@pytest.fixture(params=["as many columns as tokens", "filled up"])
def columns(request, monkeypatch):
    """Products of five tokens that end in five columns, or in seven, as they would in sixteen in float32."""
    if request.param == "filled up":
        monkeypatch.setattr("sigvit.model.attention._columns", lambda packed: 7)


@pytest.mark.usefixtures("columns")
def test_attention_of_few_tokens_is_the_attention_of_many(monkeypatch):
    module, x = Attention(width=6, heads=2).double(), torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    wanted = [x, *module.parameters()]
    few = module(x)
    gradients = torch.autograd.grad(few.square().sum(), wanted)
    monkeypatch.setattr("sigvit.model.attention.FEW_TOKENS", 4)
    many = module(x)
    # float64 sums of a few products in another order.
    torch.testing.assert_close(few, many, rtol=0, atol=1e-14)
    for gradient, other in zip(gradients, torch.autograd.grad(many.square().sum(), wanted), strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("tokens", [1, 3, 5, 13, 16, 17])
def test_attention_of_few_tokens_is_the_attention_of_many_in_float32(tokens, monkeypatch):
    """At each number of tokens on either side of those that are filled up on CPUs with long vectors."""
    monkeypatch.setattr("sigvit.model.attention.VECTOR", 16)
    torch.manual_seed(0)
    module, x = Attention(width=6, heads=2), torch.randn(3, tokens, 6, requires_grad=True)
    few = module(x)
    gradients = torch.autograd.grad(few.square().sum(), [x, *module.parameters()])
    with sdpa_kernel(SDPBackend.MATH):
        many = module(x)
    # float32 sums of up to 17 weighed numbers near 1 in another order; gradients are sums over 51 tokens of numbers of a few units.
    torch.testing.assert_close(few, many, rtol=0, atol=2e-6)
    for gradient, other in zip(gradients, torch.autograd.grad(many.square().sum(), [x, *module.parameters()]), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=2e-5)


@pytest.mark.usefixtures("columns")
def test_the_gradient_of_attention_of_few_tokens_is_that_of_finite_differences():
    packed = torch.randn(2, 3, 5, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda packed: AttentionOfFewTokens.apply(packed, 2)[0], packed, check_undefined_grad=False)


def test_attention_in_parts_is_that_of_all_rows_at_once(monkeypatch):
    packed, towards = torch.randn(2, 7, 5, 12, dtype=torch.float64, requires_grad=True), torch.randn(2, 7, 5, 4, dtype=torch.float64)
    whole = attention_of_few_tokens(packed, 2)
    (gradient,) = torch.autograd.grad(whole, packed, towards)
    monkeypatch.setattr("sigvit.model.attention.WEIGHTS_AT_ONCE", 3 * 2 * 5 * 5)  # three rows of fourteen
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: sizes.append(len(kept)) or kept, lambda kept: kept):
        sizes = []
        parts = attention_of_few_tokens(packed, 2)
    assert max(sizes) == 3 * 2
    # Products of fewer matrices may be rounded differently.
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.autograd.grad(parts, packed, towards)[0], gradient, rtol=0, atol=1e-14)


def test_a_gradient_taken_under_autocast_is_that_of_the_way_there():
    packed = torch.randn(2, 3, 5, 12, requires_grad=True)
    merged = AttentionOfFewTokens.apply(packed, 2)[0]
    (plain,) = torch.autograd.grad(merged.sum(), packed, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(merged.sum(), packed)
    assert torch.equal(found, plain)


@pytest.mark.usefixtures("columns")
def test_attention_of_few_tokens_has_second_derivatives():
    packed = torch.randn(2, 3, 5, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda packed: AttentionOfFewTokens.apply(packed, 2)[0], packed, check_undefined_grad=False)


@pytest.mark.usefixtures("columns")
def test_a_penalty_on_the_gradient_reaches_the_weights_as_by_torchs_kernel():
    attend, x = Attention(width=6, heads=2).double(), torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)

    def penalised() -> tuple[torch.Tensor, ...]:
        (gradient,) = torch.autograd.grad(attend(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), [x, *attend.parameters()], allow_unused=True)

    few = penalised()
    with sdpa_kernel(SDPBackend.MATH):
        plain = penalised()
    for ours, theirs in zip(few, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)  # float64 sums in another order


@pytest.mark.usefixtures("columns")
def test_attention_of_few_tokens_is_transformed_as_by_torchs_kernel():
    attend, x = Attention(width=6, heads=2).double(), torch.randn(2, 5, 6, dtype=torch.float64)

    def transformed() -> list[torch.Tensor]:
        def squares(rows: torch.Tensor) -> torch.Tensor:
            return attend(rows[None]).square().sum()

        return [torch.func.jacrev(attend)(x), torch.vmap(torch.func.grad(squares))(x), torch.func.jacrev(torch.func.grad(squares))(x[0])]

    few = transformed()
    with sdpa_kernel(SDPBackend.MATH):
        plain = transformed()
    for ours, theirs in zip(few, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)  # float64 sums in another order


def test_factors_of_dropout_are_zero_at_their_rate_and_independent():
    rate, rows = 0.2, 20_000
    factors = dropout_factors(dropout_seeds(rows, torch.Generator().manual_seed(3)), (rows, 3, 7), torch.float64, [rate])
    assert factors.unique().tolist() == [0.0, 1.25]
    kept = (factors.flatten(1) > 0).double()
    deviation = (rate * (1 - rate)) ** 0.5
    # Five standard errors: once in a hundred thousand runs of another seed.
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation / kept.numel() ** 0.5
    assert (kept.mean(0) - (1 - rate)).abs().max() < 5 * deviation / rows**0.5
    assert kept.mean(1).std() == pytest.approx(deviation / 21**0.5, rel=0.05)
    assert (torch.corrcoef(kept.T) - torch.eye(21, dtype=torch.float64)).abs().max() < 5 / rows**0.5


def test_factors_of_dropout_are_whole_number_arithmetic_that_no_device_can_round():
    seeds = dropout_seeds(3, torch.Generator().manual_seed(3))
    words = torch.empty(35, dtype=torch.int32).random_(-(2**31), 2**31, generator=torch.Generator().manual_seed(0))
    hashes = [[((word * (factor | 1) + term + 2**31) % 2**32) for word in words.tolist()] for factor, term in seeds.tolist()]
    kept = torch.tensor(hashes) >= round(0.3 * 2**32)
    assert torch.equal(dropout_factors(seeds, (3, 5, 7), torch.float32, [0.3]), (kept / torch.tensor(0.7)).view(3, 5, 7))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU is compared with the CPU")
def test_dropout_on_a_gpu_drops_what_it_drops_on_a_cpu():
    x = torch.randn(3, 5, 7)
    torch.manual_seed(3)
    expected = dropout(x, 0.3, training=True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x.cuda(), 0.3, training=True).cpu(), expected)


def test_each_of_several_stacked_has_the_factors_that_it_has_alone():
    seeds = dropout_seeds(6, torch.Generator().manual_seed(3)).view(2, 3, 2)
    together = dropout_factors(seeds, (2, 3, 5, 7), torch.float32, [0.1, 0.5])
    for k, rate in enumerate((0.1, 0.5)):
        assert torch.equal(together[k], dropout_factors(seeds[k], (3, 5, 7), torch.float32, [rate]))


def test_dropout_follows_the_seed_of_the_process():
    x = torch.ones(3, 5, 7)
    torch.manual_seed(3)
    first, second = dropout(x, 0.3, training=True), dropout(x, 0.3, training=True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.3, training=True), first)
    assert not torch.equal(first, second)
    assert dropout(x, 0.3, training=False) is x
