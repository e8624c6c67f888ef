"""Any caps, lengths and rates in one batch: the logits of each recording alone, whatever its company, its order of electrodes and what is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sigvit
from sigvit.tokenizers import Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens

NAMES = ["Fp1", "Cz", "T7", "O2", "P3", "FC4", "my sensor", "AF7", "POz", "C2"]
SINGLE, DOUBLE = 1e-5, 1e-12  # sums over more (zero) terms, in another order: float32 and float64
# Above half of a low rate a spectrum holds what the filter lets through, next to nothing, and its logarithm makes rounding so many times as large: over 250
# draws at most 1.4e-5 and 2.3e-12.
OF_LEAKAGE = 10
POOLS = ["class", "mean", "map"]
# Built for another cap than any recording has, in another spelling: of NAMES it lacks "C2" and "my sensor", and nobody has "Pz".
CAP = ["EEG Fp2-REF", "Pz", "CZ", "fp1", "T3", "O2", "P3.", "FC4", "AF7", "POz"]


def stem() -> ConvStem:
    return ConvStem(10, 5, kernel=5, pool=12, stride=6, width=16, leftover="pad", sampling_rate=100.0, names=CAP)


# Those that read any electrodes, and those that place what they were built for.
TOKENIZERS = {
    "each electrode": lambda: ElectrodeTimePatches(3, 1, 20, 10, 16, names=["C3", "Cz", "C4"], sampling_rate=100.0),
    "spectra": lambda: SpectrogramPatches(3, 100.0, window=16, stride=4, patch=(4, 2), width=16, names=["C3", "Cz", "C4"]),
    "scalp": lambda: ScalpMapPatches(10, (4, 6), (2, 3), 4, 3, 16, names=CAP, sampling_rate=100.0),
    "all electrodes": lambda: ElectrodeTimePatches(10, "all", 20, 10, 16, names=CAP, sampling_rate=100.0),
    "pairs of electrodes": lambda: ElectrodeTimePatches(10, 2, 20, 20, 16, "pad", names=CAP, sampling_rate=100.0),
    "time steps": lambda: TimeStepTokens(10, 7, 16, "pad", 100.0, CAP),
    "convolutions": stem,
    "covariances": lambda: CovarianceTokens(10, 20, 10, 16, ((5, 20), (20, 45)), sampling_rate=100.0, names=CAP),
    "composite": lambda: Composite([stem(), ElectrodeTimePatches(10, 1, 20, 20, 16, names=CAP, sampling_rate=100.0)]),
}
FREE = ("each electrode", "spectra")
KINDS = [("each electrode", pool) for pool in POOLS] + [(kind, "mean") for kind in TOKENIZERS if kind != "each electrode"]
FEW = settings(max_examples=4, deadline=None)


@st.composite
def montages(draw):
    """Names, bad electrodes, rate in Hz, samples, whether samples are missing, and a seed."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 7))]
    bads = draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    rate = draw(st.sampled_from([100.0, 80.0, 128.0, 250.0, 50.0, 40.0]))
    return {"ch_names": names, "sfreq": rate, "bads": sorted(bads)}, round(draw(st.floats(0.25, 1.1)) * rate), draw(st.booleans()), draw(st.integers(0, 999))


batches = st.lists(montages(), min_size=1, max_size=4)


def readable(kind: str, drawn: list) -> bool:
    """Whether every recording has a good electrode that the tokenizer places."""
    return kind in FREE or all(set(info["ch_names"]) - set(info["bads"]) - {"C2", "my sensor"} for info, *_ in drawn)


def rounding(kind: str, drawn: list) -> float:
    """How many times SINGLE or DOUBLE may be."""
    return OF_LEAKAGE if kind == "spectra" and any(info["sfreq"] < 80 for info, *_ in drawn) else 1


def model_of(kind: str, pool: str) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    tokenizer = TOKENIZERS[kind]()
    model = sigvit.signal_vit(getattr(tokenizer, "n_electrodes", 10), 100, 100.0, 3, tokenizer, positions="coordinates", heads=2, registers=1, pool=pool)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def recording_of(info: dict, n_times: int, gap: bool, seed: int) -> tuple[torch.Tensor, dict]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(info["ch_names"]), n_times, generator=generator)
    if gap:
        values[len(values) // 2 :, n_times // 3 : n_times // 2] = float("nan")
    return values, info


def doubled(recordings: list[tuple[torch.Tensor, dict]]) -> list[tuple[torch.Tensor, dict]]:
    return [(values.double(), info) for values, info in recordings]


@pytest.mark.parametrize(("kind", "pool"), KINDS)
@FEW
@given(drawn=batches)
def test_logits_are_those_of_each_recording_alone(kind, pool, drawn):
    assume(readable(kind, drawn))
    model, recordings = model_of(kind, pool), [recording_of(*each) for each in drawn]
    single, double = (limit * rounding(kind, drawn) for limit in (SINGLE, DOUBLE))
    with torch.no_grad():
        alone = torch.cat([model(sigvit.collate_windows([each])) for each in recordings])
        torch.testing.assert_close(model(sigvit.collate_windows(recordings)), alone, rtol=single, atol=single)
        model, recordings = model.double(), doubled(recordings)
        exact = torch.cat([model(sigvit.collate_windows([each])) for each in recordings])
        torch.testing.assert_close(model(sigvit.collate_windows(recordings)), exact, rtol=double, atol=double)


@pytest.mark.parametrize(("kind", "pool"), KINDS)
@FEW
@given(drawn=batches, seed=st.integers(0, 99))
def test_the_order_of_electrodes_changes_no_logit(kind, pool, drawn, seed):
    assume(readable(kind, drawn))
    model, recordings = model_of(kind, pool), [recording_of(*each) for each in drawn]
    turned = []
    for values, info in recordings:
        order = np.random.default_rng(seed).permutation(len(values))
        turned.append((values[order], {**info, "ch_names": [info["ch_names"][k] for k in order]}))
    single = SINGLE * rounding(kind, drawn)
    with torch.no_grad():
        torch.testing.assert_close(model(sigvit.collate_windows(turned)), model(sigvit.collate_windows(recordings)), rtol=single, atol=single)


@pytest.mark.parametrize(("kind", "pool"), KINDS)
@FEW
@given(drawn=batches)
def test_dropping_an_electrode_is_masking_it(kind, pool, drawn):
    assume(readable(kind, drawn))
    model, recordings = model_of(kind, pool).double(), doubled([recording_of(*each) for each in drawn])
    dropped = []
    for values, info in recordings:
        good = [k for k, name in enumerate(info["ch_names"]) if name not in info["bads"]]
        dropped.append((values[good], {**info, "ch_names": [info["ch_names"][k] for k in good], "bads": []}))
    masked, fewer = (sigvit.collate_windows(each) for each in (recordings, dropped))
    double = DOUBLE * rounding(kind, drawn)
    with torch.no_grad():
        one, other = model.tokenizer(masked), model.tokenizer(fewer)
        for sample in range(len(masked)):
            left = [each.values[sample, each.mask[sample]] for each in (one, other)]
            torch.testing.assert_close(*left, rtol=double, atol=double)
            assert torch.equal(one.coordinates[sample, one.mask[sample]].nan_to_num(9), other.coordinates[sample, other.mask[sample]].nan_to_num(9))
        torch.testing.assert_close(model(masked), model(fewer), rtol=double, atol=double)


@pytest.mark.parametrize(("kind", "pool"), KINDS)
@settings(max_examples=3, deadline=None)
@given(drawn=st.lists(montages().filter(lambda drawn: len(drawn[0]["ch_names"]) < 4), min_size=1, max_size=3))
def test_padding_and_neighbours_have_exactly_no_influence(kind, pool, drawn):
    assume(readable(kind, drawn))
    model, batch = model_of(kind, pool).double(), sigvit.collate_windows(doubled([recording_of(*each) for each in drawn]))
    found = torch.autograd.functional.jacobian(lambda values: model(replace(batch, values=values)), batch.values)
    for sample, mask in enumerate(batch.mask):
        own = found[sample, :, sample]
        assert (own[:, ~mask] == 0).all()
        rate = float(batch.sampling_rates[sample])
        end = int(((batch.n_times[sample] * 100 / rate - 20) // 10 * 10 + 20) * rate / 100) - 1  # the last full window's
        influence = own[:, mask & (torch.arange(mask.shape[1]) < end)] != 0
        assert influence.all() if kind == "each electrode" else influence.any()
        assert (found[sample, :, [other for other in range(len(batch)) if other != sample]] == 0).all()


@pytest.mark.parametrize(("kind", "pool"), KINDS)
@FEW
@given(drawn=batches)
def test_what_lies_in_the_padding_does_not_matter_even_nan(kind, pool, drawn):
    assume(readable(kind, drawn))
    model, batch = model_of(kind, pool), sigvit.collate_windows([recording_of(*each) for each in drawn])
    spoiled = replace(batch, values=batch.values.where(batch.mask, float("nan")))
    with torch.no_grad():
        assert torch.equal(model(spoiled), model(batch))
        assert model(spoiled).isfinite().all()
