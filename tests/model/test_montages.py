"""What was learned about electrodes, on another cap: the identity on the same one, whatever the order, and smooth between electrodes."""

import mne
import numpy as np
import pytest
import torch

import sigvit
from sigvit.electrodes import electrode_position, electrode_table
from sigvit.model.montages import montage_matrix
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import ElectrodeTimePatches, TimeStepTokens

OLD = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"]
NEW = ["FC3", "Cz", "CP4", "Oz", "F7", "C1", "POz"]
UNKNOWN = (float("nan"),) * 3


def places(names: list[str]) -> list:
    return [electrode_position(name) or UNKNOWN for name in names]


def model_of(names: list[str] = OLD, positions: str = "factorised", electrodes: int | str = 1) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    tokenizer = ElectrodeTimePatches(len(names), electrodes, 20, 20, 8, names=names, sampling_rate=100.0)
    model = sigvit.signal_vit(len(names), 60, 100.0, 3, tokenizer, positions=positions, heads=2)
    torch.nn.init.normal_(model.head.weight)
    return model.double().eval()


def test_rows_sum_to_one_and_a_smooth_field_is_met():
    matrix = montage_matrix(places(OLD), places(NEW))
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-9)  # what mne's smoothing of 1e-5 leaves of the spline's own constraint
    field = np.array([np.sin(20 * x) + 5 * y for x, y, _ in places(OLD)])
    there = np.array([np.sin(20 * x) + 5 * y for x, y, _ in places(NEW)])
    assert np.abs(matrix @ field - there).max() < 0.1 * np.ptp(there)  # 19 electrodes, 5 cm apart


def test_the_same_cap_is_the_identity_and_another_order_its_permutation():
    order = np.random.default_rng(0).permutation(len(OLD))
    assert np.array_equal(montage_matrix(places(OLD), places(OLD)), np.eye(len(OLD)))
    assert np.array_equal(montage_matrix(places(OLD), [places(OLD)[k] for k in order]), np.eye(len(OLD))[order])


def test_rows_follow_the_order_of_the_new_and_columns_that_of_the_old_electrodes():
    matrix, old, new = montage_matrix(places(OLD), places(NEW)), np.random.default_rng(0).permutation(19), np.random.default_rng(1).permutation(7)
    turned = montage_matrix([places(OLD)[k] for k in old], [places(NEW)[k] for k in new])
    np.testing.assert_allclose(turned, matrix[new][:, old], atol=1e-9)  # the spline is solved in another order


def test_an_electrode_without_a_place_takes_its_namesakes_value_or_the_mean():
    matrix = montage_matrix([*places(["C3", "C4"]), UNKNOWN], [UNKNOWN, UNKNOWN], ["C3", "C4", "ear"], ["ear", "foot"])
    assert np.array_equal(matrix, [[0, 0, 1], [1 / 3, 1 / 3, 1 / 3]])
    assert (montage_matrix(places(["C3"]), [UNKNOWN], unknown="zero") == 0).all()


@pytest.mark.parametrize("positions", ["learned", "factorised", "coordinates", "rotary", "none"])
@pytest.mark.parametrize("electrodes", [1, "all"])
def test_on_the_same_cap_in_another_order_logits_stay_the_same(positions, electrodes):
    model, order = model_of(positions=positions, electrodes=electrodes), np.random.default_rng(0).permutation(len(OLD))
    turned = sigvit.adapt(model, electrodes=[OLD[k] for k in order])
    recording = torch.randn(2, 19, 60, dtype=torch.float64)
    # float64: sums over electrodes in another order
    torch.testing.assert_close(turned(recording[:, order]), model(recording), rtol=0, atol=1e-10)
    assert torch.equal(sigvit.adapt(model, electrodes=OLD)(recording), model(recording))


@pytest.mark.parametrize("positions", ["learned", "factorised", "coordinates"])
def test_another_cap_gets_vectors_between_those_of_its_neighbours(positions):
    model = model_of(positions=positions)
    moved = sigvit.adapt(model, electrodes=NEW)
    assert moved(torch.randn(2, 7, 60, dtype=torch.float64)).shape == (2, 3)
    assert moved.grid.shape == (7, 3)
    assert moved.config.input_shape == (7, 60)
    assert moved.changes[0] == "Patches: 19 electrodes became 7; the projection is every electrode's, and was kept."
    assert len(moved.changes) == 2
    assert model.grid.shape == (19, 3), "the given model stays as it is"
    if positions == "factorised":
        before, after = model.positions.tables["electrode"], moved.positions.tables["electrode"]
        assert torch.equal(after[1], before[OLD.index("Cz")])
        expected = torch.as_tensor(montage_matrix(places(OLD), places(NEW))) @ before
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)  # float64
    if positions == "learned":
        assert torch.equal(moved.positions.table.view(7, 3, 8)[1], model.positions.table.view(19, 3, 8)[OLD.index("Cz")])
        assert torch.equal(moved.positions.special, model.positions.special)


def test_a_projection_of_all_electrodes_reads_the_old_ones_off_the_new_cap():
    dense = [name for name in electrode_table() if name not in OLD][::3]
    course = torch.randn(60, generator=torch.Generator().manual_seed(0))

    def field(names: list[str]) -> torch.Tensor:
        return torch.tensor([[np.sin(15 * x) + 8 * y - 3 * z] for x, y, z in places(names)]) * course

    model = model_of(electrodes="all")
    moved = sigvit.adapt(model, electrodes=dense)
    before, after = model.tokenizer(field(OLD)[None]).values, moved.tokenizer(field(dense)[None]).values
    assert (before - after).abs().max() < 0.05 * before.abs().max()  # a smooth field, between electrodes 2 cm apart
    assert "reads the old electrodes' signals off the new ones" in moved.changes[0]


def test_a_moved_model_is_saved_and_trained_like_any_other(tmp_path):
    model = model_of()
    model.scaling = Scaling.of(np.random.default_rng(0).normal(size=(5, len(OLD), 60)))
    moved = sigvit.adapt(model, electrodes=mne.create_info(["C1", "C2", "A"], 100.0, "eeg"), num_classes=5)
    assert moved.scaling is None  # it was the old electrodes'
    moved.save_pretrained(tmp_path)
    recording = torch.randn(2, 3, 60, dtype=torch.float64)
    assert torch.equal(sigvit.VisionTransformer.from_pretrained(tmp_path)(recording), moved(recording))
    assert all(parameter.requires_grad for parameter in moved.parameters())


def test_a_model_that_belongs_to_its_electrodes_is_refused():
    with pytest.raises(ValueError, match=r"with electrodes=1 or 'all'.* but this model's is TimeStepTokens"):
        sigvit.adapt(sigvit.signal_vit(3, 60, tokenizer=TimeStepTokens(3, 2, 8)), electrodes=NEW)
    with pytest.raises(ValueError, match="Sincos positions count electrodes"):
        sigvit.adapt(model_of(positions="sincos"), electrodes=NEW)
    with pytest.raises(ValueError, match="doesn't know where its electrodes sit nor what they are called"):
        sigvit.adapt(sigvit.signal_vit(3, 60), electrodes=NEW)
    with pytest.raises(ValueError, match=r"said by an mne.Info or a list of names"):
        sigvit.adapt(model_of(), electrodes=4)
    with pytest.raises(ValueError, match=r"reads images of .* no electrodes"):
        sigvit.adapt(sigvit.vit("Ti/8", 16, 3, depth=1), electrodes=NEW)
    with pytest.raises(ValueError, match=r"sampling_rate is 100.0 Hz, but the info says 250.0 Hz"):
        sigvit.adapt(model_of(), electrodes=mne.create_info(["C1"], 250.0, "eeg"))


@pytest.mark.parametrize("positions", ["factorised", "sincos", "rotary"])
def test_from_one_electrode_to_several_is_refused_where_nothing_was_learned_about_them(positions):
    model = model_of(["Cz"], positions)
    with pytest.raises(ValueError, match=f"built for one electrode, so its {positions} positions learned nothing that would tell 7 of them apart"):
        sigvit.adapt(model, electrodes=NEW)
    recording = torch.randn(2, 1, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sigvit.adapt(model, electrodes=["Pz"])(recording), model(recording))


@pytest.mark.parametrize("positions", ["learned", "coordinates", "none"])
def test_from_one_electrode_to_several_where_each_has_positions(positions):
    moved = sigvit.adapt(model_of(["Cz"], positions), electrodes=NEW)
    assert moved(torch.zeros(2, 7, 60, dtype=torch.float64)).shape == (2, 3)
