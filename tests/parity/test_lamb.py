"""LAMB against timm's, which DeiT III's results come from."""

import importlib

import torch

from sigvit.training.lamb import Lamb


def test_lamb_steps_are_timms(timm):
    torch.manual_seed(0)
    start = [torch.randn(5, 7), torch.randn(11), torch.zeros(3, 2)]  # the last begins at length zero, as a head does
    mine, theirs = ([torch.nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    groups = [[{"params": [p[0], p[2]], "weight_decay": 0.05}, {"params": [p[1]], "weight_decay": 0.0}] for p in (mine, theirs)]
    ours, reference = Lamb(groups[0], lr=3e-3), importlib.import_module("timm.optim").Lamb(groups[1], lr=3e-3, max_grad_norm=None)
    for _ in range(13):
        for own, other in zip(mine, theirs, strict=True):
            own.grad = torch.randn_like(own)
            other.grad = own.grad.clone()
        ours.step()
        reference.step()
    for own, other, before in zip(mine, theirs, start, strict=True):
        assert not torch.equal(own, before)
        # 13 float32 steps of a few thousandths each.
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)
