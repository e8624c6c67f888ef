"""Masked patch prediction and masked autoencoding: what is hidden has no influence, shares make the whole, training learns, a resume is exact."""

from dataclasses import replace

import pytest
import torch

import sigvit
from sigvit.tokenizers import ConvStem, ElectrodeTimePatches
from sigvit.training.batches import RecordingBatches, Share
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.loop import train
from sigvit.training.masked_autoencoder import MaskedAutoencoder
from sigvit.training.masked_patches import EXCHANGED, MASKED, MaskedPatches, _another
from sigvit.training.masks import Masking
from sigvit.training.mixed_batches import MixedRecordingBatches, RecordingSet
from sigvit.training.patch_targets import patch_target, patches_of
from sigvit.training.recipe import Recipe
from sigvit.training.unlabelled import Unlabelled, UnlabelledBatches

N, E, S = 23, 3, 60
RECIPE = Recipe(steps=13, batch_size=6, warmup_steps=3, learning_rate=1e-2, validate_every=5, time_shift=0.2, ema_decay=0.9)


def recordings() -> torch.Tensor:
    """Waves whose phase and offset differ: a hidden patch follows from the others."""
    generator = torch.Generator().manual_seed(0)
    phases, offsets = torch.rand(N, E, 1, generator=generator) * 6.3, torch.randn(N, 1, 1, generator=generator) * 2
    return torch.sin(torch.arange(S) / 4 + phases) * 1.4 + offsets


def network(positions: str = "learned", dropout: float = 0.0, pool: str = "class") -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    tokenizer = ElectrodeTimePatches(E, 1, 12, 12, 8, names=("C3", "Cz", "C4"), sampling_rate=20.0)
    return sigvit.signal_vit(E, S, 20.0, tokenizer=tokenizer, positions=positions, dropout=dropout, heads=2, depth=2, pool=pool)


def objective(kind: str, masking: str = "random", positions: str = "learned", dropout: float = 0.0, pool: str = "class") -> MaskedPatches | MaskedAutoencoder:
    model = network(positions, dropout, pool)
    torch.manual_seed(1)
    if kind == "masked_patches":
        return MaskedPatches(model, patch_target(model.tokenizer, "mean", patches_of(model.tokenizer, recordings())), Masking(0.5, masking))
    return MaskedAutoencoder(model, patch_target(model.tokenizer, "normalised"), Masking(0.75, masking), width=12, depth=1, heads=2)


def batches(recipe: Recipe = RECIPE) -> UnlabelledBatches:
    return UnlabelledBatches(RecordingBatches(recordings(), torch.zeros(N, dtype=torch.int64), recipe, seed=3), seed=3)


KINDS = ["masked_patches", "masked_autoencoder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masking", ["random", "electrode", "time", "block"])
def test_hidden_patches_are_predicted_from_the_others_alone(kind, masking):
    each = objective(kind, masking).eval()
    signal, seeds = recordings()[:5].requires_grad_(), torch.arange(5)
    patches = each.model.cut(signal)
    hidden, others = each.masking.hidden(patches, seeds)
    if isinstance(each, MaskedPatches):
        # All corrupted ones become the mask token: none is kept or exchanged.
        corrupted = each.corrupt(patches, hidden, torch.zeros_like(others))
        encoded = each.model.encoded(each.model.placed(patches.with_values(corrupted))).patches().values
    else:
        encoded = each.decode(each.model.placed(patches), hidden).patches().values
    (gradient,) = torch.autograd.grad(encoded.square().sum(), signal)
    seen = patches_of(each.model.tokenizer, gradient).abs().sum(-1)
    assert (seen[hidden] == 0).all()
    assert (seen[~hidden] > 0).all()


def test_corrupted_patches_become_mask_token_another_patch_or_stay():
    each = objective("masked_patches")
    signal = torch.randn(40, E, S, generator=torch.Generator().manual_seed(5))
    patches = each.model.cut(signal)
    hidden, others = each.masking.hidden(patches, torch.arange(40))
    values = each.corrupt(patches, hidden, others)
    is_mask = (values == each.mask_token).all(-1)
    same = (values == patches.values).all(-1)
    exchanged = ~is_mask & ~same
    assert same[~hidden].all()
    # 300 draws of a binomial: four standard deviations of .8, .1 and .1.
    shares = [float(part[hidden].float().mean()) for part in (is_mask, exchanged, same)]
    for share, expected, deviation in zip(shares, (MASKED, EXCHANGED, 1 - MASKED - EXCHANGED), (0.1, 0.07, 0.07), strict=True):
        assert abs(share - expected) < deviation
    # Another patch is one of the same row, and not the token itself.
    rows, at = exchanged.nonzero().unbind(1)
    for row, token in zip(rows.tolist(), at.tolist(), strict=True):
        origin = (patches.values[row] == values[row, token]).all(-1).nonzero().flatten().tolist()
        assert len(origin) == 1
        assert origin != [token]


def test_another_patch_is_each_other_real_one_of_its_row_for_as_many_draws():
    real = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    draws = [torch.full(real.shape, (at + 0.5) / 4) for at in range(4)]
    found = torch.stack([_another(real, each) for each in draws], dim=2)
    for row, at in real[:2].nonzero().tolist():
        others = [other for other in real[row].nonzero().flatten().tolist() if other != at]
        assert sorted(found[row, at].tolist()) == sorted(others * (4 // len(others)))
    assert found[2, 2].tolist() == [2] * 4, "there is no other one"


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_equal_shares_is_the_loss_of_the_whole_batch(kind):
    each, data = objective(kind).eval(), batches()
    whole = each(data.batch(4)[0])
    shares = [each(data.batch(4, Share(part, 3))[0]) for part in range(3)]
    torch.testing.assert_close(torch.stack(shares).mean(), whole, rtol=1e-5, atol=1e-6)  # sums in another order, float32


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_and_gives_a_model_that_can_be_saved_and_trained_on(kind, tmp_path):
    each = objective(kind)
    history = train(each, batches(replace(RECIPE, steps=120)), replace(RECIPE, steps=120), seed=3)
    losses = [entry["train_loss"] for entry in history]
    assert losses[-1] < 0.9 * losses[0]
    model = each.finished()
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.save_pretrained(tmp_path)
    again = sigvit.VisionTransformer.from_pretrained(tmp_path)
    assert torch.equal(again.features(recordings()), model.features(recordings()))


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_is_bit_equal(kind, tmp_path):
    class KilledError(Exception):
        pass

    def kill(step: int) -> None:
        if step == 8:
            raise KilledError

    whole, killed, resumed = (objective(kind, dropout=0.2) for _ in range(3))
    history = train(whole, batches(), RECIPE, seed=3)
    with pytest.raises(KilledError):
        train(killed, batches(), RECIPE, seed=3, checkpoints=Checkpoints(tmp_path, every=5), on_step=kill)
    again = train(resumed, batches(), RECIPE, seed=3, checkpoints=Checkpoints(tmp_path, every=5))
    assert history == again
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_dropped_out_on_their_way_into_the_encoder_in_training_alone(kind):
    each, seen = objective(kind, dropout=0.4), []
    each.model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0] == 0).float().mean()))
    for mode in (True, False):
        each.train(mode)(batches().batch(0)[0])
    assert abs(seen[0] - 0.4) < 0.15  # four standard deviations of 192 draws, those of the fewest tokens
    assert seen[1] == 0


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_an_autoencoder_encodes_what_is_not_dropped_as_if_the_rest_was_padding(positions):
    each, seen = objective("masked_autoencoder", positions=positions).eval(), []
    each.model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    batch = batches().batch(0)[0]
    each(batch)
    tokens = each.model.cut(batch.signal)
    dropped, _ = each.masking.hidden(tokens, batch.seeds)
    kept = torch.nn.functional.pad(~dropped, (1, 0), value=True)  # the class token is never dropped
    placed = each.model.placed(tokens)
    expected = each.model.encoder(placed.values, kept, rotate=each.model.rotation(placed))
    torch.testing.assert_close(seen[0].flatten(0, 1), expected[kept], rtol=0, atol=1e-5)  # float32, two blocks


@pytest.mark.parametrize("positions", ["learned", "coordinates"])
def test_a_decoder_tells_dropped_patches_apart_by_their_places(positions):
    each = objective("masked_autoencoder", positions=positions).eval()
    patches = each.model.cut(recordings()[:5])
    dropped, _ = each.masking.hidden(patches, torch.arange(5))
    for decoded, own in zip(each.decode(each.model.placed(patches), dropped).patches().values, dropped, strict=True):
        assert torch.pdist(decoded[own]).min() > 0.01, "mask tokens without places would be decoded alike"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positions", ["learned", "coordinates"])
def test_weight_decay_spares_vectors_and_positions(kind, positions):
    each = objective(kind, positions=positions)
    spared = {"mask_token", "prediction.bias", "model.tokenizer.bias"} | {name for name, _ in each.named_parameters() if "positions." in name}
    assert any(name.startswith("model.positions.") for name in spared)
    assert spared <= each.no_decay_names()
    assert each.no_decay_names().isdisjoint({"prediction.weight", "model.tokenizer.weight", "model.encoder.blocks.0.mlp.inner.weight"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_model_is_as_for_use(kind):
    each = objective(kind).train()
    assert not any(module.training for module in each.finished().modules())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["class", "map"])
def test_every_parameter_that_is_trained_gets_a_gradient(kind, pool):
    """Several processes would wait for ever for one that doesn't."""
    each = objective(kind, pool=pool)
    torch.nn.init.normal_(each.prediction.weight)
    each(batches().batch(0)[0]).backward()
    lacking = [name for name, parameter in each.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert lacking == []
    assert all(parameter.grad is None for parameter in each.model.head.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positions", ["coordinates", "rotary"])
def test_recordings_of_several_caps_and_rates_train_together(kind, positions):
    caps = [{"ch_names": ["C3", "Cz", "C4"], "sfreq": 20.0}, {"ch_names": ["Fz", "Oz"], "sfreq": 40.0}]
    sets = [RecordingSet(recordings(), torch.zeros(N, dtype=torch.int64), caps[0])]
    sets.append(RecordingSet(torch.randn(7, 2, 96, generator=torch.Generator().manual_seed(6)), torch.zeros(7, dtype=torch.int64), caps[1]))
    data = UnlabelledBatches(MixedRecordingBatches(sets, RECIPE, seed=3), seed=3)
    history = train(objective(kind, "time", positions), data, RECIPE, seed=3)
    assert history[-1]["step"] == RECIPE.steps
    # A recording's loss is the same alone as in company, up to the order of sums.
    each = objective(kind, "time", positions).eval()
    torch.nn.init.normal_(each.prediction.weight, std=0.1)
    batch = data.batch(2)[0]
    alone = [each(Unlabelled(batch.signal[row : row + 1], batch.seeds[row : row + 1])) for row in range(len(batch.signal))]
    torch.testing.assert_close(torch.stack(alone).mean(), each(batch), rtol=1e-4, atol=1e-5)


def test_tokens_that_are_not_patches_are_refused():
    stem = sigvit.signal_vit(E, S, tokenizer=ConvStem(E, kernel=5, pool=10, stride=10))
    with pytest.raises(ValueError, match="not cut out of the signal"):
        MaskedPatches(stem, patch_target(network().tokenizer, "regression"))


@pytest.mark.parametrize("masking", ["random", "time", "block"])
@pytest.mark.parametrize("kind", [MaskedPatches, MaskedAutoencoder])
def test_patches_that_overlap_are_refused_where_not_whole_electrodes_are_hidden(kind, masking):
    """A part of a hidden patch would stand in each neighbour."""
    model = sigvit.signal_vit(E, S, tokenizer=ElectrodeTimePatches(E, 1, 12, 7, 8), heads=2)
    with pytest.raises(ValueError, match=r"Patches of 12 samples are cut every 7, so that they overlap, .* Cut them every 12 samples"):
        kind(model, patch_target(model.tokenizer, "regression"), Masking(0.4, masking))


@pytest.mark.parametrize("kind", [MaskedPatches, MaskedAutoencoder])
def test_of_whole_hidden_electrodes_nothing_is_seen_in_patches_that_overlap(kind):
    tokenizer = ElectrodeTimePatches(E, 1, 12, 7, 8)
    objective = kind(
        sigvit.signal_vit(E, S, tokenizer=tokenizer, heads=2, positions="learned"), patch_target(tokenizer, "regression"), Masking(0.4, "electrode")
    )
    signal, seeds = torch.arange(2.0 * E * S).view(2, E, S), torch.tensor([3, 5])
    assert objective(Unlabelled(signal, seeds)) > 0
    hidden, _ = objective.masking.hidden(tokenizer(signal), seeds)
    samples = tokenizer.unfold(signal)
    assert hidden.any()
    assert not set(samples[hidden].flatten().tolist()) & set(samples[~hidden].flatten().tolist())


def test_an_objective_that_cannot_be_made_freezes_nothing():
    model = sigvit.vit("Ti/4", image_size=8, num_classes=5, depth=1)
    with pytest.raises(ValueError, match="width divisible by 4, but it is 30"):
        MaskedAutoencoder(model, patch_target(model.tokenizer, "normalised"), width=30)
    assert all(parameter.requires_grad for parameter in model.parameters())
