"""The poolings of others' classifiers: what they read, and that padding is never in a mean."""

import pytest
import torch
from torch import nn

import sigvit

SIZES = {"patch_size": 7, "width": 12, "depth": 2, "heads": 3, "mlp_width": 17, "num_classes": 5}


def vit(**choices) -> sigvit.VisionTransformer:
    model = sigvit.vit("Ti", image_size=21, **SIZES, **choices).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def test_two_vectors_side_by_side():
    x = torch.randn(2, 3, 21, 21)
    model = vit(pool="class_and_mean", registers=2)
    tokens = model.encode(x).values
    # the last block computes only the tokens that are asked for, in other sums: a few units of 1e-7, and depth adds them up
    torch.testing.assert_close(model.features(x), torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], dim=1), rtol=1e-5, atol=1e-5)
    model = vit(pool="class_and_register", registers=2)
    tokens = model.encode(x).values
    torch.testing.assert_close(model.features(x), torch.cat([tokens[:, 0], tokens[:, 1]], dim=1), rtol=1e-5, atol=1e-5)
    model.reset_head(7)
    assert model(x).shape == (2, 7)


@pytest.mark.parametrize("class_token", [True, False])
def test_the_norm_may_come_behind_the_mean(class_token):
    x = torch.randn(2, 3, 21, 21)
    model = vit(pool="mean_then_norm", class_token=class_token)
    tokens = model.encode(x).values[:, int(class_token) :]
    torch.testing.assert_close(model.features(x), model.pool.mean_norm(tokens.mean(1)), rtol=1e-5, atol=1e-5)
    assert not any(name.startswith("encoder.norm") for name in model.state_dict())


@pytest.mark.parametrize("pool", ["mean_then_norm", "class_and_mean", "class_and_register"])
def test_padding_has_no_influence(pool):
    model = vit(pool=pool, registers=1)
    mask = torch.zeros(2, 21, 21, dtype=torch.bool)
    mask[:, :14] = True
    x = torch.randn(2, 3, 21, 21)
    other = torch.where(mask[:, None], x, torch.randn(2, 3, 21, 21))
    assert torch.equal(model.features(x, mask), model.features(other, mask))


def test_choices_that_make_no_model_are_refused():
    with pytest.raises(ValueError, match="pool='class_and_mean' reads the class token, but class_token is False"):
        vit(pool="class_and_mean", class_token=False)
    with pytest.raises(ValueError, match="reads the first register, but there is none; give registers=1"):
        vit(pool="class_and_register")
