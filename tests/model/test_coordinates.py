"""Positions read from coordinates: a function of place, whatever the cap, its order, the length or the number of tokens."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state

import sigvit
from sigvit.electrodes import electrode_position
from sigvit.grid import Axis, Grid
from sigvit.model.coordinates import CoordinatePositions
from sigvit.model.rotary import RotaryPositions
from sigvit.model.waves import WAVELENGTHS, phases, wave_vectors
from sigvit.tokens import Tokens

CAP = ["Fp1", "Cz", "T7", "O2", "P3"]
UNKNOWN = (float("nan"),) * 3


def electrodes(names: list[str]) -> Axis:
    return Axis("electrode", "m", tuple(electrode_position(name) or UNKNOWN for name in names), tuple(names))


def recording_grid(names: list[str], times: int) -> Grid:
    return Grid((electrodes(names), Axis.regular("time", "s", times, 0.25, 0.5)))


def positions(width: int = 7) -> CoordinatePositions:
    torch.manual_seed(0)
    return CoordinatePositions(recording_grid(CAP, 3), width).double()


def test_a_token_gets_the_sum_of_a_vector_of_its_electrode_and_one_of_its_time():
    model = positions()
    table = model.on_grid(recording_grid(CAP, 3)).unflatten(0, (5, 3))
    expected = model.along_axis(electrodes(CAP))[2] + model.along_axis(Axis.regular("time", "s", 3, 0.25, 0.5))[1]
    assert torch.equal(table[2, 1], expected)


def test_the_vector_of_an_axis_is_the_naive_formula():
    model, axis = positions(), electrodes(CAP)
    vectors = wave_vectors("electrode", "m", 48)
    for step, site in enumerate(axis.coordinates):
        waves = [function(sum(vectors[k, f] * site[k] for k in range(3))) for function in (np.sin, np.cos) for f in range(48)]
        # double precision: the same sum in another order
        torch.testing.assert_close(model.along_axis(axis)[step], model.weights["electrode"] @ torch.tensor(waves), rtol=0, atol=1e-12)


def test_order_and_number_of_electrodes_and_length_change_no_vector():
    model = positions()
    table = model.on_grid(recording_grid(CAP, 3)).unflatten(0, (5, 3))
    other = model.on_grid(recording_grid(["O2", "C4", "Cz"], 11)).unflatten(0, (3, 11))
    # the same product of matrices, of other sizes
    torch.testing.assert_close(other[[2, 0], :3], table[[1, 3]], rtol=0, atol=1e-12)


def test_an_electrode_whose_place_is_not_known_gets_the_learned_vector():
    model = positions()
    line = model.along_axis(electrodes(["Cz", "my sensor", "O2"]))
    assert torch.equal(line[1], model.unknown)
    assert line.isfinite().all()
    line.sum().backward()
    assert (model.unknown.grad == 1).all()
    assert model.weights["electrode"].grad.isfinite().all()


def test_every_electrode_of_the_table_and_every_time_can_be_told_apart():
    names = ["Fp1", "Fpz", "Fp2", "AF7", "AF3", "AFz", "F5", "F3", "F1", "Fz", "FC3", "FC1", "C5", "C3", "C1", "Cz", "CP1", "CP3", "P3", "P1", "Pz", "O1", "Oz"]
    for axis, count in ((electrodes(names), 48), (Axis.regular("time", "s", 31, 0.02, 0.04), 24), (Axis.regular("row", "px", 28, 0, 1), 24)):
        angles = phases(axis, count)
        waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        distances = np.linalg.norm(waves[:, None] - waves[None], axis=2) + np.eye(axis.size) * 9
        assert distances.min() > 0.3, axis.name  # of at most sqrt(2 · 24)


def test_every_weight_has_a_gradient_also_where_all_places_are_known():
    """Several processes would wait for ever for one that isn't there."""
    model = positions()
    model.on_grid(recording_grid(CAP, 3)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (model.unknown.grad == 0).all()


def test_an_axis_that_a_grid_lacks_adds_nothing():
    model = positions()
    time = Axis.regular("time", "s", 3, 0.25, 0.5)
    assert torch.equal(model.on_grid(Grid((time,))), model.along_axis(time))


def test_an_image_is_read_by_shares_of_its_size():
    assert np.array_equal(phases(Axis.regular("row", "px", 5, 7.5, 16), 3), phases(Axis.regular("row", "px", 5, 3.5, 8), 3))
    assert np.allclose(phases(Axis.regular("row", "px", 3, 0, 1), 3), phases(Axis.regular("row", "px", 9, 0, 1), 3)[1::3], rtol=0, atol=1e-12)  # float64


def test_special_tokens_get_nothing_and_padding_neither():
    model = positions()
    grids = (recording_grid(CAP[:2], 3), recording_grid(CAP, 2))
    mask = torch.arange(10) < torch.tensor([[6], [10]])
    found = model(Tokens(torch.zeros(2, 10, 7, dtype=torch.float64), None, mask, grids=grids).prepend({"class": torch.zeros(7)}))
    assert (found.token("class") == 0).all()
    assert (found.values[0, 7:] == 0).all()
    assert torch.equal(found.values[0, 1:7], model.on_grid(grids[0]))
    assert torch.equal(found.values[1, 1:], model.on_grid(grids[1]))


def test_stacked_weights_give_each_models_own_table():
    grid = recording_grid([*CAP, "unknown"], 3)
    models = [CoordinatePositions(grid, 7).double() for _ in range(3)]
    stacked, _ = stack_module_state(models)
    with torch.no_grad():
        table = functional_call(_Table(models[0]), {f"positions.{name}": tensor for name, tensor in stacked.items()}, (grid,))
    for own, model in zip(table, models, strict=True):
        # double precision: a batched product
        torch.testing.assert_close(own, model.on_grid(grid), rtol=0, atol=1e-12)


class _Table(torch.nn.Module):
    def __init__(self, positions: CoordinatePositions) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, grid: Grid) -> torch.Tensor:
        return self.positions.on_grid(grid)


@pytest.mark.parametrize("axis", [Axis.regular("depth", "m", 3, 0, 1), Axis.regular("time", "ms", 3, 0, 1)])
def test_axes_without_known_waves_are_refused(axis):
    with pytest.raises(ValueError, match=r"no wavelengths for the axis .*; coordinates are read of electrode \(m\)"):
        CoordinatePositions(Grid((axis,)), 7)


def test_tokens_in_another_unit_are_refused():
    with pytest.raises(ValueError, match=r"read the coordinates of electrode \(m\), time \(s\), but the tokens sit on 'time' in 'samples'"):
        positions().on_grid(Grid((Axis.regular("time", "samples", 3, 0, 1),)))
    with pytest.raises(ValueError, match="'electrode' has 1 columns a step; coordinates are read of 3"):
        CoordinatePositions(Grid((Axis.regular("electrode", "m", 3, 0, 1),)), 7)


def test_electrodes_without_any_known_place_are_refused():
    grid = recording_grid(["A", "B"], 3)
    for build in (lambda: CoordinatePositions(grid, 8), lambda: RotaryPositions(grid, 8, 1)):
        with pytest.raises(ValueError, match="None of the 2 electrodes has a known place"):
            build()


def test_the_longest_and_the_shortest_wave_are_those_of_the_table():
    for (name, unit), bounds in WAVELENGTHS.items():
        lengths = 2 * np.pi / np.linalg.norm(wave_vectors(name, unit, 97), axis=0)
        slack = 1.05 if name == "electrode" else 1 + 1e-9  # directions take lengths in another order, which leaves out the very ends
        assert bounds[0] / slack < lengths.min() < bounds[0] * slack, name
        assert bounds[1] / slack < lengths.max() < bounds[1] * slack, name


def test_a_trained_cap_and_length_are_read_by_a_model_of_images_and_of_recordings():
    image = sigvit.vit("Ti/8", 16, 3, depth=1, positions="coordinates")
    assert image(torch.randn(2, 3, 24, 32)).shape == (2, 3)
    signal = sigvit.signal_vit(CAP, 80, 40.0, positions="coordinates")
    assert signal(torch.randn(2, 5, 80)).shape == (2, 2)
    spared = {name for name in signal.no_decay_names() if name.startswith("positions.")}
    assert spared == {"positions.weights.electrode", "positions.weights.time", "positions.unknown"}


def test_a_model_that_was_asked_in_inference_mode_can_be_trained():
    model = sigvit.signal_vit(CAP, 80, 40.0, positions="coordinates", heads=2, pool="mean")
    torch.nn.init.ones_(model.head.weight)
    with torch.inference_mode():
        model(torch.ones(2, 5, 80))
    model(torch.ones(2, 5, 80)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
