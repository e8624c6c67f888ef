"""Tokens: what every tokenizer gives and what the encoder reads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.grid import Grid, JoinedGrid

# B = batch, T = tokens, D = width, C = coordinate columns


class Tokens:
    """A batch of token sequences that knows where each token sits.

    Parameters
    ----------
    values : (B, T, D) token vectors.
    grid : where the patch tokens sit; None when a batch mixes grids (then `grids` or `coordinates` says it).
    mask : (B, T) bool, True = real, False = padding. None says that all are real, which lets attention skip the mask.
    coordinates : (T, C) or (B, T, C) float; taken from the grid where it is left out. Special tokens have NaN.
    special : names of the leading tokens that sit on no grid, such as ("class", "register 0"); the rest are patch tokens.
    grids : each sample's own grid, where a batch mixes them: its patch tokens come first, row-major, and the rest is padding.

    Raises
    ------
    ValueError : sizes of values, grid, mask, coordinates or grids that contradict each other.

    >>> from sigvit.grid import Axis
    >>> grid = Grid((Axis.regular("time", "s", 3, 0.0, 0.5),))
    >>> tokens = Tokens(torch.zeros(2, 3, 5), grid)
    >>> tokens.mask.all().item(), tokens.coordinates.tolist()
    (True, [[0.0], [0.5], [1.0]])
    >>> with_class = tokens.prepend({"class": torch.ones(5)})
    >>> with_class.values.shape, with_class.special, with_class.token("class").shape
    (torch.Size([2, 4, 5]), ('class',), torch.Size([2, 5]))
    """

    def __init__(
        self,
        values: Tensor,
        grid: Grid | None = None,
        mask: Tensor | None = None,
        coordinates: Tensor | None = None,
        special: tuple[str, ...] = (),
        grids: tuple[Grid, ...] | None = None,
    ) -> None:
        n_patches = values.shape[1] - len(special)
        if grid is not None and grid.n_tokens != n_patches:
            raise ValueError(f"The grid {grid.shape} holds {grid.n_tokens} tokens, but the values hold {n_patches} patch tokens.")
        if mask is not None and (mask.shape != values.shape[:2] or mask.dtype != torch.bool):
            raise ValueError(f"The mask must be bool of shape {tuple(values.shape[:2])}, but is {mask.dtype} of shape {tuple(mask.shape)}.")
        if coordinates is not None and coordinates.shape[-2] != values.shape[1]:
            raise ValueError(f"There are coordinates for {coordinates.shape[-2]} tokens, but {values.shape[1]} tokens.")
        if grids is not None:
            _check_grids(grids, grid, mask, len(values), n_patches)
        self.values, self.grid, self.special, self.grids = values, grid, special, grids
        self._mask, self._coordinates = mask, coordinates

    @property
    def padding_mask(self) -> Tensor | None:
        """The mask, or None when every token is real: attention is faster without one."""
        return self._mask

    @property
    def mask(self) -> Tensor:
        """(B, T) bool, True = real."""
        if self._mask is not None:
            return self._mask
        return torch.ones(self.values.shape[:2], dtype=torch.bool, device=self.values.device)

    @property
    def coordinates(self) -> Tensor:
        """(T, C) or (B, T, C), in the units of the grid's axes; NaN for special tokens, and for the padding of a batch that mixes grids."""
        if self._coordinates is not None:
            return self._coordinates
        if self.grids is not None:
            return torch.stack([self._sits(grid) for grid in self.grids])
        if self.grid is None:
            raise ValueError("These tokens have neither a grid nor coordinates, so nothing says where they sit.")
        return self._sits(self.grid)

    @property
    def parts(self) -> tuple[Grid, ...] | None:
        """The grids that follow each other in the patch tokens of a composite of tokenizers, whose grid joins them; None for any other."""
        return self.grid.parts if isinstance(self.grid, JoinedGrid) else None

    def _sits(self, grid: Grid) -> Tensor:
        """(T, C): the coordinates of this grid behind the special tokens, and NaN behind them where it holds fewer tokens."""
        sits = torch.as_tensor(grid.coordinates(), dtype=torch.float32, device=self.values.device)
        front = len(self.special)
        return functional.pad(sits, (0, 0, front, self.values.shape[1] - front - len(sits)), value=float("nan"))

    def with_values(self, values: Tensor) -> Tokens:
        """The same places with other vectors, (B, T, any width)."""
        return Tokens(values, self.grid, self._mask, self._coordinates, self.special, self.grids)

    def prepend(self, special: dict[str, Tensor]) -> Tokens:
        """New special tokens in front of all others: a dictionary of name → (D,) vector."""
        if not special:
            return self
        batch = self.values.shape[0]
        front = torch.stack(list(special.values())).to(self.values.dtype).expand(batch, -1, -1)
        mask = coordinates = None
        if self._mask is not None:
            mask = torch.cat([self._mask.new_ones(batch, len(special)), self._mask], dim=1)
        if self._coordinates is not None:
            nowhere = self._coordinates.new_full((*self._coordinates.shape[:-2], len(special), self._coordinates.shape[-1]), float("nan"))
            coordinates = torch.cat([nowhere, self._coordinates], dim=-2)
        return Tokens(torch.cat([front, self.values], dim=1), self.grid, mask, coordinates, (*special, *self.special), self.grids)

    def token(self, name: str) -> Tensor:
        """(B, D): the special token called ``name``; KeyError names those that are there."""
        if name not in self.special:
            raise KeyError(f"There is no token {name!r}; the special tokens are {list(self.special)}.")
        return self.values[:, self.special.index(name)]

    def patches(self) -> Tokens:
        """The tokens without the special ones."""
        n = len(self.special)
        mask = None if self._mask is None else self._mask[:, n:]
        coordinates = None if self._coordinates is None else self._coordinates[..., n:, :]
        return Tokens(self.values[:, n:], self.grid, mask, coordinates, grids=self.grids)


def _check_grids(grids: tuple[Grid, ...], grid: Grid | None, mask: Tensor | None, batch: int, n_patches: int) -> None:
    if grid is not None or mask is None:
        raise ValueError("Tokens of several grids have no common one, and a mask that says which are padding.")
    if len(grids) != batch or max(own.n_tokens for own in grids) > n_patches:
        shapes = [own.shape for own in grids]
        raise ValueError(f"There are {len(grids)} grids {shapes} for {batch} samples of {n_patches} patch tokens; give one a sample, none with more tokens.")
