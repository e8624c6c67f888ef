"""A trained model on another cap: what was learned about electrodes is read off between them along the scalp, as an image's table is between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.electrodes import comparable_name
from sigvit.grid import Axis, Grid
from sigvit.model.positions import FactorisedPositions, LearnedPositions, electrodes_of
from sigvit.model.random_state import borrowed_random_state
from sigvit.model.transformer import grid_of
from sigvit.tokenizers import ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches
from sigvit.tokenizers.electrode_sites import Position, read_electrodes
from sigvit.tokenizers.scalp_weights import directions, spline_weights

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer

# E = electrodes, D = width

SAME_PLACE_M = 1e-3
# Tokenizers whose weights know nothing of single electrodes, so that another cap only moves their tokens.
FREE_OF_ELECTRODES = (SpectrogramPatches, ScalpMapPatches)


def montage_matrix(
    old_positions: Sequence[Sequence[float]],
    new_positions: Sequence[Sequence[float]],
    old_names: Sequence[str] = (),
    new_names: Sequence[str] = (),
    unknown: str = "mean",
) -> np.ndarray:
    """(new, old) float64 weights that read a quantity, known at the old electrodes, at the new ones.

    An electrode that lies where an old one does (within a millimetre), or has its name, takes its value exactly: equal caps give the identity, and the same
    cap in another order its permutation. The others are read off a spherical spline through the old ones (Perrin et al. 1989), whose rows sum to one.

    Parameters
    ----------
    old_positions, new_positions : metres in the head frame; NaN where not known.
    old_names, new_names : of the electrodes, where they have any.
    unknown : what an electrode without place and namesake gets: the "mean" of the old ones, or "zero".

    >>> cap = [(-0.07, 0.0, 0.07), (0.07, 0.0, 0.07), (0.0, 0.09, 0.06)]
    >>> montage_matrix(cap, cap[::-1]).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    >>> montage_matrix(cap, [(0.0, 0.02, 0.13)]).sum().round(6).item()
    1.0
    """
    old, new = (np.asarray(sites, dtype=float).reshape(-1, 3) for sites in (old_positions, new_positions))
    known = np.isfinite(old).all(axis=1)
    weights = np.full((len(new), len(old)), 1 / len(old) if unknown == "mean" else 0.0)
    named = {comparable_name(name): at for at, name in enumerate(old_names)}
    for at, place in enumerate(new):
        distances = np.where(known, np.linalg.norm(old - place, axis=1), np.inf) if np.isfinite(place).all() else np.full(len(old), np.inf)
        nearest = int(distances.argmin())
        twin = nearest if distances[nearest] < SAME_PLACE_M else named.get(comparable_name(new_names[at])) if at < len(new_names) else None
        if twin is not None:
            weights[at] = np.arange(len(old)) == twin
        elif np.isfinite(place).all() and known.any():
            weights[at] = 0.0
            weights[at, known] = spline_weights(directions(place[None]), directions(old[known]))[0]
    return weights


def adapt_electrodes(new: VisionTransformer, electrodes: Any, changes: list[str]) -> None:
    """Make a copied model of recordings one for other electrodes; `changes` gets a sentence for each part.

    Raises
    ------
    ValueError : a model of images, a tokenizer whose weights can't follow, positions that count electrodes or know of one alone, or names and places
        that aren't known.
    """
    if len(new.config.input_shape) != 2:
        raise ValueError(f"This model reads images of {new.config.input_shape}; it has no electrodes that could change.")
    count, names, sites, _ = read_electrodes(electrodes, getattr(new.tokenizer, "sampling_rate", None))
    if names is None or sites is None:
        raise ValueError("Other electrodes are said by an mne.Info or a list of names, because what was learned is read off by their places.")
    old_axis = next((axis for axis in new.grid.axes if axis.name == "electrode"), None)
    new.tokenizer = _moved_tokenizer(new.tokenizer, count, names, sites, changes)
    new.config = replace(new.config, input_shape=(count, new.config.input_shape[1]))
    grid = grid_of(new.tokenizer, new.config)
    _move_positions(new, old_axis, grid, changes)
    new.grid = grid
    if new.scaling is not None:
        new.scaling = None
        changes.append("Scaling: forgotten, because means and deviations were the old electrodes'.")


def _moved_tokenizer(old: nn.Module, count: int, names: list[str], sites: list[Position], changes: list[str]) -> nn.Module:
    whole = type(old) is ElectrodeTimePatches and len(old.groups) == 1
    if type(old) not in FREE_OF_ELECTRODES and not (type(old) is ElectrodeTimePatches and (whole or len(old.groups[0]) == 1)):
        raise ValueError(
            f"Electrodes can change where the tokenizer is {', '.join(kind.__name__ for kind in FREE_OF_ELECTRODES)} or ElectrodeTimePatches with "
            f"electrodes=1 or 'all', but this model's is {type(old).__name__}; what its weights learned belongs to the electrodes it was built for."
        )
    arguments = old.arguments() | {"n_electrodes": count, "names": names, "positions": sites}  # type: ignore[operator]
    if type(old) is ElectrodeTimePatches:
        arguments["electrodes"] = "all" if whole and len(old.groups[0]) > 1 else 1
    state = {name: tensor.detach().clone() for name, tensor in old.named_parameters()}
    if arguments.get("electrodes") == "all":
        assert isinstance(old, ElectrodeTimePatches)
        _require_places(old.positions, old.names)
        # The new cap's signals are read at the old electrodes, and those read by the old weights: one product.
        matrix = montage_matrix(sites, old.positions, names, old.names or (), unknown="zero")
        kernel = old.weight.detach().double().unflatten(1, (old.n_electrodes, old.window))
        state["weight"] = torch.einsum("dew,ef->dfw", kernel, torch.as_tensor(matrix).to(kernel)).flatten(1).to(old.weight.dtype)
        changes.append(
            f"Patches: {old.n_electrodes} electrodes became {count}; the projection reads the old electrodes' signals off the new ones, along the scalp."
        )
    else:
        changes.append(f"Patches: {old.n_electrodes} electrodes became {count}; the projection is every electrode's, and was kept.")
    with borrowed_random_state():  # what is drawn is overwritten
        new = type(old)(**arguments).to(next(old.parameters()))
    new.load_state_dict(state, strict=False)
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(old.get_parameter(name).requires_grad)
    return new.train(old.training)


def _move_positions(new: VisionTransformer, old: Axis | None, grid: Grid, changes: list[str]) -> None:
    """Tables of positions for the new electrodes."""
    axis = next((axis for axis in grid.axes if axis.name == "electrode"), None)
    if old is None or axis is None or getattr(new.tokenizer, "electrodes", 1) == "all":
        return
    kind, positions = new.config.positions, new.positions
    if old.size == 1 and axis.size > 1 and kind in ("factorised", "sincos", "rotary"):
        raise ValueError(
            f"This model was built for one electrode, so its {kind} positions learned nothing that would tell {axis.size} of them apart; "
            "train with positions='coordinates' instead."
        )
    if isinstance(positions, LearnedPositions | FactorisedPositions):
        _require_places(old.coordinates, old.labels)
        matrix = torch.as_tensor(montage_matrix(old.coordinates, axis.coordinates, old.labels, axis.labels))
        _resample(positions, matrix)
        positions.shape, positions.electrodes = grid.shape, electrodes_of(grid)
        changes.append(f"Positions: the vectors of {old.size} electrodes became those of {axis.size}, read off along the scalp by spherical splines.")
    elif kind == "sincos" and old.size > 1:
        raise ValueError("Sincos positions count electrodes in their order, which means nothing on another cap; train with positions='coordinates' instead.")
    elif kind != "none":
        changes.append(f"Positions: read from the coordinates of {axis.size} electrodes instead of {old.size}.")


def _resample(positions: LearnedPositions | FactorisedPositions, matrix: Tensor) -> None:
    if isinstance(positions, FactorisedPositions):
        if "electrode" not in positions.tables:  # one electrode, told apart from no other
            return
        table = positions.tables["electrode"]
        positions.tables["electrode"] = nn.Parameter(_read(table.detach(), matrix, 0), table.requires_grad)
        return
    table = positions.table
    spread = table.detach().unflatten(0, positions.shape)
    positions.table = nn.Parameter(_read(spread, matrix, positions.names.index("electrode")).flatten(0, -2), table.requires_grad)


def _read(values: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """One axis of `values` by a matrix (new, old), in float64."""
    return torch.tensordot(matrix.to(values.device), values.double(), dims=([1], [axis])).movedim(0, axis).to(values.dtype)


def _require_places(positions: Sequence[Sequence[float]], names: Sequence[str] | None) -> None:
    if not np.isfinite(np.asarray(positions, dtype=float)).all(axis=1).any() and not names:
        raise ValueError("This model doesn't know where its electrodes sit nor what they are called, so nothing can be read off between them.")
