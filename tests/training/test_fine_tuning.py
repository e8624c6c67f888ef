"""Fine-tuning: what is frozen stays bit for bit, what is added changes nothing at first and can be merged."""

import copy

import pytest
import torch
from torch import nn

import sigvit
from sigvit.training.batches import RecordingBatches
from sigvit.training.fine_tuning import choose_trained, merge
from sigvit.training.loop import train
from sigvit.training.many import Member, Plan, is_stackable, train_many
from sigvit.training.member import train_alone
from sigvit.training.recipe import Recipe

E, S, N = 3, 83, 23
RECIPE = Recipe(steps=7, batch_size=5, warmup_steps=0, dtype="float64")


def model(**choices) -> nn.Module:
    torch.manual_seed(0)
    made = sigvit.signal_vit(E, n_times=S, num_classes=3, **{"width": 8, "heads": 2, "dropout": 0.1, **choices}).double()
    nn.init.normal_(made.head.weight)  # a head that starts at zero would pass nothing on
    return made.eval()


def windows() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(N, E, S, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.arange(N) % 3


def tuned(trained: str, rank: int = 2) -> tuple[nn.Module, nn.Module]:
    before = model()
    after = choose_trained(copy.deepcopy(before), trained, rank)
    train(after, RecordingBatches(*windows(), RECIPE, 0), RECIPE)
    return before, after


def test_the_additions_change_nothing_at_first():
    values, _ = windows()
    before = model()
    # float64; attention that isn't trained is computed in another order.
    torch.testing.assert_close(choose_trained(copy.deepcopy(before), "lora")(values), before(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("trained", "learns"), [("head", {"head.weight", "head.bias"}), ("all", None)])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(trained, learns):
    before, after = tuned(trained)
    for name, tensor in before.named_parameters():
        changed = not torch.equal(tensor, dict(after.named_parameters())[name])
        assert changed == (learns is None or name in learns), name


def test_lora_changes_the_attentions_matrices_by_the_rank_and_the_head_alone():
    before, after = tuned("lora", rank=2)
    merge(after)
    weights = dict(after.named_parameters())
    assert set(weights) == set(dict(before.named_parameters()))
    for name, tensor in before.named_parameters():
        difference = weights[name].detach() - tensor.detach()
        if name.endswith(("qkv.weight", "out.weight")):
            # float64: what isn't in the product is a rounding.
            assert torch.linalg.matrix_rank(difference, tol=1e-12) == 2, name
        else:
            assert bool(difference.any()) == name.startswith("head."), name


def test_merging_keeps_what_is_computed_and_frees_every_parameter():
    values, _ = windows()
    _, after = tuned("lora")
    logits = after(values)
    merge(after)
    torch.testing.assert_close(after(values), logits, rtol=0, atol=1e-12)  # float64
    assert all(parameter.requires_grad for parameter in after.parameters())
    choose_trained(after, "lora")


def test_a_model_with_additions_is_saved_once_they_are_merged(tmp_path):
    _, after = tuned("lora")
    with pytest.raises(ValueError, match=r"has low-rank additions beside its weights, .*; merge\(model\) first"):
        after.save_pretrained(tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()
    merge(after).save_pretrained(tmp_path / "tuned")
    weights = sigvit.VisionTransformer.from_pretrained(tmp_path / "tuned").state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in after.state_dict().items())


def test_all_of_a_model_whose_head_alone_was_trained_learns_again():
    assert all(parameter.requires_grad for parameter in choose_trained(choose_trained(model(), "head"), "all").parameters())


def test_the_additions_are_a_function_of_their_seed():
    first, same, other = (choose_trained(model(), "lora", seed=seed).state_dict() for seed in (3, 3, 5))
    down = [name for name in first if name.endswith(".down")]
    assert all(torch.equal(first[name], same[name]) and not torch.equal(first[name], other[name]) for name in down)
    assert len({first[name].sum().item() for name in down}) == len(down), "each matrix has its own"


def test_few_numbers_are_trained():
    counts = {
        trained: sum(p.numel() for p in choose_trained(model(width=32), trained, 2).parameters() if p.requires_grad) for trained in ("head", "lora", "all")
    }
    head = 3 * 32 + 3
    assert counts["head"] == head
    assert counts["lora"] == head + 2 * 2 * (32 + 96 + 32 + 32)
    assert counts["all"] > 5 * counts["lora"]


@pytest.mark.parametrize("trained", ["head", "lora"])
def test_many_at_once_are_tuned_as_each_alone(trained):
    members = []
    for seed in range(2):
        members.append(Member(choose_trained(model(), trained, 2, seed), *windows(), RECIPE, seed, 3))
    assert all(is_stackable(member) for member in members)
    serial = [copy.deepcopy(member.model) for member in members]
    train_many(members, Plan(2))
    for member, twin in zip(members, serial, strict=True):
        train_alone(Member(twin, *windows(), RECIPE, member.seed, 3))
        for name, tensor in twin.state_dict().items():
            # Seven steps of AdamW in float64: sums in another order.
            torch.testing.assert_close(member.model.state_dict()[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (model, {"trained": "some"}, "trained is 'some'; it must be 'all', 'head' or 'lora'"),
        (model, {"trained": "lora", "rank": 0}, "rank is 0"),
        (lambda: choose_trained(model(), "lora"), {"trained": "head"}, "has low-rank additions already"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), {"trained": "head"}, "Sequential has no head"),
    ],
)
def test_what_cannot_be_tuned_is_said(make, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        choose_trained(make(), **arguments)


def test_a_model_without_attention_has_nothing_to_add_to():
    plain = nn.Module()
    plain.head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Module has no attention to add low-rank products to"):
        choose_trained(plain, "lora")
