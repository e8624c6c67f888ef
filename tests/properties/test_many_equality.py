"""Whatever the architecture and the folds: K trainings at once are K trainings one after the other."""

import copy
from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sigvit
from sigvit.tokenizers import ConvStem, ElectrodeTimePatches, TimeStepTokens
from sigvit.training.many import Member, Plan, train_many
from sigvit.training.member import train_alone
from sigvit.training.recipe import Recipe

E, S, N = 3, 41, 29
TOKENIZERS = {
    "all electrodes": lambda: None,
    "one electrode, overlapping": lambda: ElectrodeTimePatches(E, 1, 17, 7, 8, "pad", names=["C3", "Cz", "C4"]),
    "time steps": lambda: TimeStepTokens(E, 5, 8, "pad"),
    "convolutions": lambda: ConvStem(E, 5, kernel=7, pool=11, stride=5, width=8, activation="log_power", leftover="pad"),
}
architectures = st.fixed_dictionaries(
    {
        "tokenizer": st.sampled_from(list(TOKENIZERS)),
        "positions": st.sampled_from(["learned", "factorised", "sincos", "coordinates", "none"]),
        "pool": st.sampled_from(["class", "mean", "map"]),
        "registers": st.integers(0, 2),
        "depth": st.integers(1, 3),
        "heads": st.sampled_from([1, 2, 4]),
        "gelu": st.sampled_from(["erf", "tanh", "swiglu"]),
        "representation": st.sampled_from([None, 5]),
        "layer_scale": st.sampled_from([None, 0.3]),
        "stochastic_depth": st.sampled_from([0.0, 0.3]),
    }
)
folds = st.lists(st.tuples(st.integers(5, N), st.integers(0, 7), st.sampled_from([0.0, 0.2])), min_size=2, max_size=4)


def make(choices: dict, number: int, fold: tuple[int, int, float]) -> Member:
    """Trained on the first windows, validated on the last ones."""
    size, validation, dropout = fold
    generator = torch.Generator().manual_seed(11)
    values, targets = torch.randn(N + 7, E, S, generator=generator, dtype=torch.float64), torch.arange(N + 7) % 2
    torch.manual_seed(number)
    model = sigvit.signal_vit(E, S, width=8, dropout=dropout, **{**choices, "tokenizer": TOKENIZERS[choices["tokenizer"]]()}).double()
    recipe = Recipe(steps=5, batch_size=5, warmup_steps=0, validate_every=2, patience=2, time_shift=0.2, mixup=0.4, dtype="float64")
    held_out = (values[-validation:], targets[-validation:]) if validation else None
    return Member(model, values[:size], targets[:size], recipe, number, 2, validation=held_out)


@settings(max_examples=12, deadline=None)
@given(choices=architectures, drawn=folds)
def test_stacked_weights_are_the_serial_ones(choices, drawn):
    members = [make(choices, number, fold) for number, fold in enumerate(drawn)]
    serial = [replace(member, model=copy.deepcopy(member.model)) for member in members]
    train_many(members, Plan(len(members)))
    for member, twin in zip(members, serial, strict=True):
        train_alone(twin)
        for name, tensor in twin.model.state_dict().items():
            # Five steps of AdamW in float64; the contract's bound.
            torch.testing.assert_close(member.model.state_dict()[name], tensor, rtol=0, atol=1e-10)
