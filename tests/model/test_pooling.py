"""From the encoded tokens to one vector."""

import torch

from sigvit.model.pooling import AttentionPool, ClassPool, MeanPool


def test_the_class_token_is_found_by_name():
    assert ClassPool().outputs(("register 0", "class", "register 1")) == slice(1, 2)
    values = torch.randn(2, 1, 5)
    assert torch.equal(ClassPool()(values), values[:, 0])


def test_special_tokens_are_in_no_mean():
    assert MeanPool().outputs(("class", "register 0")) == slice(2, None)
    assert MeanPool().outputs(()) is None


def test_the_mean_is_over_real_tokens_whatever_the_padding_holds():
    values = torch.randn(2, 7, 5)
    mask = torch.arange(7) < torch.tensor([[3], [7]])
    values[0, 3:] = float("nan")
    expected = torch.stack([values[0, :3].mean(0), values[1].mean(0)])
    for found in (MeanPool()(values, mask), MeanPool()(values[:, None], mask[:, None])[:, 0]):  # of a batch, and of two stacked models
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # float32 means


def test_the_mean_of_nothing_is_zero():
    assert (MeanPool()(torch.randn(2, 7, 5), torch.zeros(2, 7, dtype=torch.bool)) == 0).all()


def test_attention_pooling_of_padded_tokens_is_that_of_the_real_ones():
    pool, values = AttentionPool(width=6, heads=2, mlp_width=11), torch.randn(3, 7, 6)
    mask = (torch.arange(7) < 4).expand(3, -1)
    assert pool.outputs(("class",)) == slice(1, None)
    # float32 sums in another order
    torch.testing.assert_close(pool(values, mask), pool(values[:, :4]), rtol=0, atol=1e-6)


def test_attention_pooling_does_not_see_the_order_of_tokens():
    pool, values = AttentionPool(width=6, heads=2, mlp_width=11), torch.randn(3, 7, 6)
    # float32 sums in another order
    torch.testing.assert_close(pool(values.flip(1)), pool(values), rtol=0, atol=1e-6)
