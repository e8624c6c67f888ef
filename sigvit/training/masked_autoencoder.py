"""Masked autoencoding: most patches are dropped before the encoder, and a small decoder rebuilds them.

He et al. 2022, "Masked autoencoders are scalable vision learners" (arXiv:2111.06377).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigvit.model.dropout import dropout
from sigvit.model.encoder import Encoder
from sigvit.model.positions import make_positions
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.tokens import Tokens
from sigvit.training.masked_patches import PatchObjective
from sigvit.training.masks import Masking
from sigvit.training.patch_targets import Target
from sigvit.training.unlabelled import Unlabelled

# B = batch, T = tokens with the special ones, V = visible tokens, D = width

# Decoder positions that serve the same grids as the model's.
FOR_ONE_GRID, FOR_ANY_GRID = "sincos", "coordinates"
LEARNED_BY_NUMBER = ("learned", "factorised", "sincos")


class MaskedAutoencoder(PatchObjective):
    """A Vision Transformer that sees a quarter of the patches, and a decoder that predicts the others; its output is its loss.

    `sigvit.training.loop.train` trains it on `UnlabelledBatches`; then `finished()` is the model. Its head, pool and representation aren't trained.

    Parameters
    ----------
    model : trained in place.
    target : what is predicted of a patch; see `patch_target`. The paper's is "normalised".
    masking : which patches are dropped, and how many; recordings also by "electrode", "time" or "block".
    width, depth, heads : of the decoder; a width must suit its positions: sines and cosines where the model's belong to one grid, else coordinates.

    Raises
    ------
    ValueError : the model's tokens are not of patches, or of patches that overlap where not whole electrodes are hidden; a decoder width that the heads or
        positions can't share.

    >>> import sigvit
    >>> from sigvit.training.patch_targets import patch_target
    >>> model = sigvit.signal_vit(3, n_times=80, width=8)
    >>> objective = MaskedAutoencoder(model, patch_target(model.tokenizer, "normalised"), width=8, depth=1)
    >>> loss = objective(Unlabelled(torch.randn(5, 3, 80), torch.arange(5)))
    >>> loss.shape, bool(loss > 0.5)
    (torch.Size([]), True)
    """

    def __init__(
        self,
        model: VisionTransformer,
        target: Target,
        masking: Masking = Masking(0.75),  # noqa: B008 (frozen: nothing can change it)
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__(model, target, masking)
        self.into_decoder = nn.Linear(model.config.width, width)
        self.mask_token = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        kind = FOR_ONE_GRID if model.config.positions in LEARNED_BY_NUMBER else FOR_ANY_GRID
        self.positions = make_positions(kind, model.grid, width)
        self.decoder = Encoder(width, depth, heads, 4 * width, model.config.gelu, model.config.eps)
        self.prediction = nn.Linear(width, target.outputs)
        for layer in (self.into_decoder, self.prediction):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.freeze_readout()

    def forward(self, batch: Unlabelled) -> Tensor:
        """The loss, a scalar: mean over dropped patches, then over rows."""
        patches = self.model.cut(batch.signal)
        dropped, _ = self.masking.hidden(patches, batch.seeds)
        decoded = self.decode(self.model.placed(patches), dropped)
        return self.loss(decoded, dropped, batch)

    def decode(self, tokens: Tokens, dropped: Tensor) -> Tokens:
        """All tokens as the decoder makes them of those that aren't dropped, (B, patch tokens) bool; `tokens` have positions and stand behind special ones."""
        places, there = self.visible(tokens, dropped)
        known = self.into_decoder(self.encode_visible(tokens, places, there))
        hidden = self.mask_token.to(known.dtype)
        # Places beyond a row's visible tokens are of dropped ones: they get the mask token, as those that aren't listed.
        known = known if there is None else known.where(there[..., None], hidden)
        everywhere = hidden.expand(*tokens.values.shape[:2], -1).scatter(1, places[..., None].expand(-1, -1, known.shape[2]), known)
        placed = self.positions(tokens.with_values(everywhere))
        return placed.with_values(self.decoder(placed.values, placed.padding_mask))

    def encode_visible(self, tokens: Tokens, places: Tensor, there: Tensor | None) -> Tensor:
        """(B, V, D): the encoder sees these tokens and no other."""

        def take(values: Tensor) -> Tensor:
            return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))

        rotation = self.model.rotation(tokens)
        rotate = None if rotation is None else rotation.regrouped(take, len(places))
        values = dropout(take(tokens.values), self.model.config.dropout, self.training)
        return self.model.encoder(values, there, rotate=rotate)

    @staticmethod
    def visible(tokens: Tokens, dropped: Tensor) -> tuple[Tensor, Tensor | None]:
        """Places (B, V) of the tokens that the encoder sees, special ones first, and which of them there are, (B, V), or None where all rows have as many."""
        front = dropped.new_zeros(len(dropped), len(tokens.special))
        kept = ~torch.cat([front, dropped], dim=1) & tokens.mask
        counts = kept.sum(1)
        longest = int(counts.max())
        places = (~kept).long().argsort(dim=1, stable=True)[:, :longest]
        there = torch.arange(longest, device=kept.device) < counts[:, None]
        return places, None if bool(there.all()) else there

    def no_decay_names(self) -> set[str]:
        """Names of the parameters that weight decay should spare, the decoder's positions among them."""
        return super().no_decay_names() | {name for name, _ in self.named_parameters() if name.startswith("positions.")}
