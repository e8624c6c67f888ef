"""Recordings of several caps, lengths and rates as one batch: what is real, where it sits, and which input is refused."""

from dataclasses import replace

import mne
import numpy as np
import pytest
import torch

import sigvit
from sigvit.electrodes import electrode_position
from sigvit.tokenizers import Composite, ConvStem, ElectrodeTimePatches, RecordingBatch, ScalpMapPatches, SpectrogramPatches, TimeStepTokens
from sigvit.tokenizers.mixed_recordings import at_one_rate


def info_of(*names: str, rate: float = 100.0, **more) -> dict:
    return {"ch_names": list(names), "sfreq": rate, "bads": [], **more}


def tokenizer_of(**choices) -> ElectrodeTimePatches:
    return ElectrodeTimePatches(2, 1, **{"window": 20, "stride": 10, "width": 7, "names": ["C3", "C4"], "sampling_rate": 100.0, **choices})


def test_values_mask_and_places_are_those_of_each_recording():
    first, second = torch.randn(3, 50), torch.randn(2, 70)
    second[1, 5] = float("nan")
    batch = sigvit.collate_windows([(first, info_of("Cz", "Fz", "my sensor", bads=["Fz"])), (second, info_of("O1", "O2", rate=160.0))])
    assert torch.equal(batch.values[0, 0, :50], first[0])
    assert batch.mask.sum((1, 2)).tolist() == [100, 139]
    assert not batch.mask[0, 1].any()
    assert not batch.mask[1, 1, 5]
    assert batch.values.isfinite().all()
    assert batch.positions[0, 0].tolist() == list(electrode_position("Cz"))
    assert batch.positions[0, 2].isnan().all()
    assert batch.names == (("Cz", "Fz", "my sensor"), ("O1", "O2"))
    assert batch.sampling_rates.tolist() == [100.0, 160.0]
    assert batch.n_times == (50, 70)


def test_arrays_that_run_backwards_are_collated():
    values = np.random.default_rng(0).normal(size=(2, 13))
    batch = sigvit.collate_windows([(values[::-1, ::-1], info_of("Cz", "Fz"))])
    assert np.array_equal(batch.values[0].numpy(), values[::-1, ::-1])


def test_arrays_of_foreign_byte_order_and_mapped_ones_are_collated_without_a_word(recwarn):
    values = np.random.default_rng(0).normal(size=(2, 13)).astype(np.float32)
    mapped = values.copy()
    mapped.flags.writeable = False
    for given in (values.astype(">f4"), mapped):
        assert np.array_equal(sigvit.collate_windows([(given, info_of("Cz", "Fz"))]).values[0].numpy(), values)
    assert not recwarn.list


def test_what_an_array_masks_is_missing():
    values = np.random.default_rng(0).normal(size=(2, 13))
    batch = sigvit.collate_windows([(np.ma.array(values, mask=np.abs(values) > 1), info_of("Cz", "Fz"))])
    assert np.array_equal(batch.mask[0].numpy(), np.abs(values) <= 1)


def test_the_info_of_mne_gives_digitised_places_and_bad_electrodes():
    info = mne.create_info(["Cz", "A", "B"], 100.0, "eeg")
    info["chs"][1]["loc"][:3] = [0.01, 0.02, 0.03]
    info["bads"] = ["B"]
    batch = sigvit.collate_windows([(np.zeros((3, 40), np.float32), info)])
    torch.testing.assert_close(batch.positions[0, 1], torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64))
    assert batch.mask[0, :, 0].tolist() == [True, True, False]


def test_each_recordings_own_grid_has_its_names_metres_and_seconds():
    batch = sigvit.collate_windows([(torch.randn(1, 50), info_of("Cz")), (torch.randn(3, 160), info_of("O1", "O2", "Oz", rate=200.0))])
    tokens = tokenizer_of()(batch)
    assert [grid.shape for grid in tokens.grids] == [(1, 4), (3, 7)]
    assert tokens.grids[1].axis("electrode").labels == ("O1", "O2", "Oz")
    assert tokens.grids[1].axis("time").coordinates[:2] == ((0.095,), (0.195,))
    assert tokens.mask.sum(1).tolist() == [4, 21]
    assert tokens.values.shape == (2, 21, 7)
    assert tokens.coordinates[0, 4:].isnan().all()


def test_a_batch_of_the_built_cap_and_rate_has_the_tokens_of_the_plain_recording():
    tokenizer, values = tokenizer_of(), torch.randn(3, 2, 57)
    batch = sigvit.collate_windows([(each, info_of("C3", "C4")) for each in values])
    # float32: the same product, of another layout
    torch.testing.assert_close(tokenizer(batch).values, tokenizer(values).values, rtol=0, atol=1e-6)
    assert all(grid == tokenizer(values).grid for grid in tokenizer(batch).grids)


@pytest.mark.parametrize("rate", [20.0, 37.0, 50.0, 80.0, 250.0])
def test_a_recording_at_another_rate_keeps_its_last_samples_in_longer_company(rate):
    generator = torch.Generator().manual_seed(0)
    short, long = (torch.randn(2, samples, generator=generator, dtype=torch.float64) for samples in (23, 31))
    short[1, -1] = float("nan")
    batches = [sigvit.collate_windows([(each, info_of("C3", "C4", rate=rate)) for each in recordings]) for recordings in ([short], [short, long])]
    (alone, there, (length,)), (values, mask, lengths) = (at_one_rate(batch, 100.0) for batch in batches)
    assert lengths[0] == length
    assert torch.equal(mask[0, :, :length], there[0])
    assert there[0, 0].all()
    assert not mask[0, :, length:].any()
    # float64: the same products, of other sizes
    torch.testing.assert_close(values[0, :, :length], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("leftover", ["drop", "pad"])
def test_the_same_signal_at_another_rate_has_nearly_the_same_tokens(leftover):
    tokenizer = tokenizer_of(leftover=leftover)
    time = torch.arange(2000) / 1000
    waves = sum(torch.sin(2 * torch.pi * hertz * time + hertz) for hertz in (0.7, 3.1, 11.0, 23.0))
    expected = tokenizer(sigvit.collate_windows([(waves[None, ::10], info_of("Cz"))]))
    for rate, found in ((1000.0, waves), (500.0, waves[::2]), (250.0, waves[::4]), (125.0, waves[::8])):
        tokens = tokenizer(sigvit.collate_windows([(found[None], info_of("Cz", rate=rate))]))
        assert tokens.grids == expected.grids
        inner = slice(2, -2)  # at the ends the filter reaches beyond the recording; tokens are about 1, and the pass band ripples by 1e-4
        torch.testing.assert_close(tokens.values[0, inner], expected.values[0, inner], rtol=0, atol=2e-3)


def test_electrodes_are_found_by_name_in_any_spelling_and_absent_ones_are_masked():
    tokenizer, values = TimeStepTokens(3, 5, 7, sampling_rate=100.0, names=["T7", "Oz", "Cz"]), torch.randn(3, 50)
    tokens = tokenizer(sigvit.collate_windows([(values, info_of("my sensor", "EEG CZ-REF", "T3"))]))
    placed, there = torch.stack([values[2], torch.zeros(50), values[1]]), torch.tensor([[True, False, True]])
    assert torch.equal(tokens.values, tokenizer(placed[None], there).values)
    assert tokens.grids == (tokenizer(placed[None]).grid,)


def test_a_picture_of_the_scalp_is_made_of_the_electrodes_that_a_recording_has():
    built, own = (ScalpMapPatches(len(cap), (4, 4), (2, 2), 5, 2, 7, names=cap, sampling_rate=100.0) for cap in (["C3", "C4"], ["O1", "Fz", "T8"]))
    own.load_state_dict(built.state_dict())
    values = torch.randn(4, 50)
    tokens = built(sigvit.collate_windows([(values, info_of("O1", "my sensor", "Fz", "T4")), (torch.randn(1, 30), info_of("Cz"))]))
    # float32: the same product, with a row of zeros for the electrode without a place
    torch.testing.assert_close(tokens.values[0], own(values[None, [0, 2, 3]]).values[0], rtol=0, atol=1e-6)
    assert [grid.shape for grid in tokens.grids] == [(2, 2, 5), (2, 2, 3)]


def test_what_an_electrode_without_a_place_saw_is_in_no_picture():
    tokenizer, values = ScalpMapPatches(1, (4, 4), (2, 2), 5, 2, 7, names=["Cz"], sampling_rate=100.0), torch.randn(2, 50)
    values[1, 20:] = float("nan")
    tokens = tokenizer(sigvit.collate_windows([(values, info_of("my sensor", "Cz"))]))
    assert tokens.mask.view(4, 5).tolist() == [[True, True, False, False, False]] * 4


def test_a_batch_has_as_many_tokens_as_its_largest_recording():
    recordings = [(torch.randn(1, 90), info_of("Cz")), (torch.randn(3, 40), info_of("Cz", "Fz", "Oz"))]
    for tokenizer in (tokenizer_of(), SpectrogramPatches(1, 100.0, window=16, stride=4, patch=(4, 2), width=7)):
        tokens = tokenizer(sigvit.collate_windows(recordings))
        assert tokens.values.shape[1] == max(grid.n_tokens for grid in tokens.grids)


def test_rows_of_a_batch_are_a_batch():
    batch = sigvit.collate_windows([(torch.randn(k, 30 + k), info_of(*["Cz", "Fz", "Oz"][:k], rate=100.0 + k)) for k in (1, 2, 3)])
    part = batch[1:3]
    assert len(part) == 2
    assert part.names == (("Cz", "Fz"), ("Cz", "Fz", "Oz"))
    assert torch.equal(part.values, batch.values[1:])
    assert part.n_times == (32, 33)


def test_a_model_takes_the_batch_and_says_where_its_tokens_sit():
    model = sigvit.signal_vit(2, 60, 100.0, 3, tokenizer_of(), positions="coordinates", heads=1).eval()
    batch = sigvit.collate_windows([(torch.randn(1, 50), info_of("Cz")), (torch.randn(3, 160), info_of("O1", "O2", "Oz", rate=200.0))])
    assert model(batch).shape == (2, 3)
    assert model.features(batch).shape == (2, 7)
    tokens = model.encode(batch)
    assert tokens.grids is not None
    assert tokens.mask.sum(1).tolist() == [5, 22]
    maps = model.attention_maps(batch)
    assert (maps[0, ..., 5:] == 0).all()
    double = model.double()(batch.to(torch.float64))
    assert double.dtype == torch.float64


REFUSED = {
    "There are no recordings": [],
    "must be a pair": [torch.zeros(1, 30)],
    r"info of recording 0 is list .*must be an mne.Info": [(torch.zeros(1, 30), ["Cz"])],
    "info of recording 1 is NoneType": [(torch.zeros(1, 30), info_of("Cz")), (torch.zeros(1, 30), None)],
    r"names \['Cz'\] more than once": [(torch.zeros(2, 30), info_of("Cz", "Cz"))],
    r"calls \['Fz'\] bad, which it doesn't name": [(torch.zeros(1, 30), info_of("Cz", bads=["Fz"]))],
    "rate of recording 0 is 0.0 Hz": [(torch.zeros(1, 30), info_of("Cz", rate=0.0))],
    "rate of recording 0 is nan Hz": [(torch.zeros(1, 30), info_of("Cz", rate=float("nan")))],
    "has values of 2 electrodes, but its info names 1": [(torch.zeros(2, 30), info_of("Cz"))],
    "must be floating-point numbers": [(torch.zeros(1, 30, dtype=torch.long), info_of("Cz"))],
    "but are torch.float32 of shape": [(torch.zeros(30), info_of("Cz"))],
    "must be a tensor or an array": [([[0.0]], info_of("Cz"))],
    "infinite at electrode 'Fz', sample 3": [(torch.tensor([[0, 0, 0, 0], [0, 0, 0, torch.inf]]), info_of("Cz", "Fz"))],
    "Recording 1 has no real sample left: of its 2 electrodes 1 are bad": [
        (torch.zeros(1, 30), info_of("Cz")),
        (torch.tensor([[0.0], [torch.nan]]).expand(2, 30), info_of("Cz", "Fz", bads=["Cz"])),
    ],
    "recording 1 is torch.float64": [(torch.zeros(1, 30), info_of("Cz")), (torch.zeros(1, 30, dtype=torch.float64), info_of("Cz"))],
    "look like other units, such as volts and microvolts": [(torch.randn(1, 99), info_of("Cz")), (torch.randn(1, 99) * 1e-6, info_of("Cz"))],
    r"recordings 0 and 1 are in T and V": [
        (torch.zeros(1, 30), mne.create_info(["Cz"], 100.0, "eeg")),
        (torch.zeros(1, 30), mne.create_info(["MEG1"], 100.0, "mag")),
    ],
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_collated_is_refused(sentence):
    with pytest.raises(ValueError, match=sentence):
        sigvit.collate_windows(REFUSED[sentence])


@pytest.mark.parametrize("change", [{"mask": torch.ones(2, 1, 30, dtype=torch.bool)}, {"sampling_rates": torch.ones(1)}, {"n_times": (30,)}])
def test_parts_of_a_batch_that_contradict_each_other_are_refused(change):
    batch = sigvit.collate_windows([(torch.zeros(3, 30), info_of("Cz", "C3", "C4"))] * 2)
    with pytest.raises(ValueError, match=r"For values of shape \(2, 3, 30\), mask, positions, rates, names and lengths must be .*, but are"):
        replace(batch, **change)


def test_what_a_tokenizer_cannot_cut_is_refused():
    batch = sigvit.collate_windows([(torch.randn(2, 50), info_of("C3", "C4"))])
    with pytest.raises(ValueError, match=r"this ElectrodeTimePatches has no names of electrodes; give `names`"):
        ElectrodeTimePatches(2, 2, 20, 10, 7, sampling_rate=100.0)(batch)
    with pytest.raises(ValueError, match=r"this TimeStepTokens has no names of electrodes and sampling rate"):
        TimeStepTokens(2)(batch)
    with pytest.raises(ValueError, match=r"Recording 0 has none of the electrodes .* it has C3, C4, and the tokenizer reads Oz, O1"):
        TimeStepTokens(2, sampling_rate=100.0, names=["Oz", "O1"])(batch)
    with pytest.raises(ValueError, match=r"Recording 0 has the electrode T7 more than once, as T3, EEG T7-REF"):
        TimeStepTokens(1, sampling_rate=100.0, names=["T7"])(sigvit.collate_windows([(torch.randn(2, 50), info_of("T3", "EEG T7-REF"))]))
    with pytest.raises(ValueError, match=r"recording 0 has no electrode whose place is known: A"):
        ScalpMapPatches(1, names=["Cz"], sampling_rate=100.0)(sigvit.collate_windows([(torch.randn(1, 50), info_of("A"))]))
    with pytest.raises(ValueError, match="A spline joins all electrodes"):
        ScalpMapPatches(1, names=["Cz"], weights="spline", sampling_rate=100.0)(batch)
    with pytest.raises(ValueError, match="this ScalpMapPatches has none; give sampling_rate"):
        ScalpMapPatches(1, names=["Cz"])(batch)
    with pytest.raises(ValueError, match="but this one has no sampling rate"):
        tokenizer_of(sampling_rate=None)(batch)
    with pytest.raises(ValueError, match="give no mask beside it"):
        tokenizer_of()(batch, batch.mask)
    with pytest.raises(ValueError, match="12 samples holds no window of 20"):
        tokenizer_of()(sigvit.collate_windows([(torch.randn(2, 24), info_of("C3", "C4", rate=200.0))]))
    with pytest.raises(TypeError, match=r"RecordingBatch is cut by the tokenizers of recordings; this model's tokenizer is ImagePatches"):
        sigvit.vit("Ti/8", 8, 2, 1, depth=1)(batch)


@pytest.mark.parametrize("positions", ["factorised", "learned", "sincos"])
def test_positions_that_belong_to_electrodes_by_number_refuse_others(positions):
    model = sigvit.signal_vit(["C3", "C4"], 50, 100.0, tokenizer=tokenizer_of(width=8), positions=positions)
    right, turned, fewer = (sigvit.collate_windows([(torch.randn(len(names), 50), info_of(*names))]) for names in (["C3", "C4"], ["C4", "C3"], ["C3"]))
    assert model(right).shape == (1, 2)
    with pytest.raises(ValueError, match=r"belong to the electrodes C3, C4 in this order, but a recording has C4, C3; .* positions='coordinates'"):
        model(turned)
    with pytest.raises(ValueError, match=r"built for 2 steps of electrode, but got 1; .*sigvit.adapt"):
        model(fewer)


@pytest.mark.parametrize("positions", ["factorised", "learned"])
def test_another_spelling_names_the_same_electrodes(positions):
    model = sigvit.signal_vit(["C3", "T7"], 50, 100.0, tokenizer=tokenizer_of(width=8, names=["C3", "T7"]), positions=positions)
    torch.nn.init.normal_(model.head.weight)
    values = torch.randn(2, 50)
    plain, spelled = (sigvit.collate_windows([(values, info_of(*names))]) for names in (["C3", "T7"], ["EEG C3-REF", "T3"]))
    assert torch.equal(model(plain), model(spelled))


class OwnTokenizer(torch.nn.Module):
    """Somebody's own, which says which batches it cuts."""

    batches, width = RecordingBatch, 7

    def __init__(self) -> None:
        super().__init__()
        self.part = tokenizer_of()

    def forward(self, recording: torch.Tensor) -> sigvit.Tokens:
        return self.part(recording)


def test_a_tokenizer_of_ones_own_cuts_the_batches_that_it_says():
    model = sigvit.signal_vit(["C3", "C4"], 50, 100.0, tokenizer=OwnTokenizer(), heads=1, positions="coordinates")
    batch = sigvit.collate_windows([(torch.randn(2, 50), info_of("C3", "C4"))])
    assert model(batch).shape == (1, 2)
    model.tokenizer.batches = None
    with pytest.raises(TypeError, match="this model's tokenizer is OwnTokenizer"):
        model(batch)


@pytest.mark.parametrize("company", [False, True])
def test_a_recording_without_a_real_token_is_named(company):
    info, recordings = info_of("C3", "Cz"), torch.randn(3, 2, 37, generator=torch.Generator().manual_seed(0))
    recordings[2, :, 12:] = float("nan")  # a window is of 13
    recordings = list(recordings[:1]) * company + [recordings[2]]
    stem = ConvStem(2, 3, kernel=5, pool=9, stride=3, width=8, sampling_rate=100.0, names=["C3", "Cz"])
    model = sigvit.signal_vit(["C3", "Cz"], 37, 100.0, tokenizer=stem, heads=2, positions="coordinates", pool="mean")
    with pytest.raises(ValueError, match=f"Recording {len(recordings) - 1} has no real token: of the electrodes that the tokenizer reads"):
        model(sigvit.collate_windows([(values, info) for values in recordings]))
    joined = Composite([stem, TimeStepTokens(2, 3, 8, sampling_rate=100.0, names=["C3", "Cz"])])
    model = sigvit.signal_vit(["C3", "Cz"], 37, 100.0, tokenizer=joined, heads=2, positions="coordinates", pool="mean")
    assert model(sigvit.collate_windows([(values, info) for values in recordings])).isfinite().all()  # the other part has tokens
