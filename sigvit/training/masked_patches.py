"""Masked patch prediction: the Vision Transformer's own pre-training without labels.

Dosovitskiy et al. 2021, "An image is worth 16 × 16 words" (arXiv:2010.11929), section B.1.2: half of the patch embeddings are corrupted, 80 % of them by a
learned mask token, 10 % by another patch's, 10 % are kept; of each corrupted patch its mean colour in 3 bits a channel is predicted, 512 colours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigvit.model.dropout import dropout
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.tokens import Tokens
from sigvit.training.masks import Masking
from sigvit.training.patch_targets import Target, patches_of, shape_of
from sigvit.training.unlabelled import Unlabelled

# B = batch, T = patch tokens, D = width

MASKED, EXCHANGED = 0.8, 0.1  # shares of the corrupted patches; the rest is kept


def require_hideable(tokenizer: nn.Module, masking: Masking) -> None:
    """ValueError where a part of what is hidden stands in the next patch: patches overlap along time, and not whole electrodes are hidden."""
    if isinstance(tokenizer, ElectrodeTimePatches) and tokenizer.stride < tokenizer.window and masking.kind != "electrode":
        raise ValueError(
            f"Patches of {tokenizer.window} samples are cut every {tokenizer.stride}, so that they overlap, and what is hidden in one can be copied from "
            f"the next. Cut them every {tokenizer.window} samples (stride=window, or in from_info stride_s=window_s), or hide whole electrodes: "
            f"Masking({masking.share}, 'electrode')."
        )


class PatchObjective(nn.Module):
    """A model with masked patches, of which a `prediction` is learned; its output is its loss. Head, pool and representation aren't trained.

    Raises
    ------
    ValueError : the model's tokens are not of patches, or of patches that overlap where not whole electrodes are hidden.
    """

    prediction: nn.Linear

    def __init__(self, model: VisionTransformer, target: Target, masking: Masking) -> None:
        super().__init__()
        shape_of(model.tokenizer)
        require_hideable(model.tokenizer, masking)
        self.model, self.target, self.masking = model, target, masking

    def freeze_readout(self) -> None:
        """What stands behind the encoder: a parameter without gradient would stop several processes. Called last: a refused objective freezes nothing."""
        for part in (self.model.pool, self.model.representation, self.model.head):
            part.requires_grad_(False)

    def loss(self, tokens: Tokens, hidden: Tensor, batch: Unlabelled) -> Tensor:
        """A scalar: mean over the hidden patches, (B, T) bool, of each row, then over rows; equal shares of a batch weigh alike."""
        predictions = self.prediction(tokens.patches().values[hidden])
        losses = self.target.loss(predictions, patches_of(self.model.tokenizer, batch.signal)[hidden])
        weights = (1 / hidden.sum(1).clamp(min=1).to(losses.dtype))[:, None].expand(hidden.shape)[hidden]
        return (losses * weights).sum() / len(hidden)

    def no_decay_names(self) -> set[str]:
        """Names of the parameters that weight decay should spare: vectors and scalars, and what the model names."""
        vectors = {name for name, parameter in self.named_parameters() if parameter.ndim < 2}
        return vectors | {f"model.{name}" for name in self.model.no_decay_names()}

    def finished(self) -> VisionTransformer:
        """The model, in evaluation mode, with nothing frozen."""
        return self.model.requires_grad_(True).eval()


class MaskedPatches(PatchObjective):
    """A Vision Transformer that predicts corrupted patches: tokenizer → corruption → positions → encoder → prediction; its output is its loss.

    `sigvit.training.loop.train` trains it on `UnlabelledBatches`; then `finished()` is the model. Its head, pool and representation aren't trained.

    Parameters
    ----------
    model : trained in place.
    target : what is predicted of a patch; see `patch_target`.
    masking : which patches are corrupted, and how many.

    Raises
    ------
    ValueError : the model's tokens are not of patches, or of patches that overlap where not whole electrodes are hidden.

    >>> import sigvit
    >>> from sigvit.training.patch_targets import patch_target
    >>> model = sigvit.vit("Ti/4", image_size=8, num_classes=10, depth=1)
    >>> objective = MaskedPatches(model, patch_target(model.tokenizer, "mean"))
    >>> loss = objective(Unlabelled(torch.zeros(5, 3, 8, 8), torch.arange(5)))
    >>> round(loss.item(), 2)
    6.24
    """

    def __init__(self, model: VisionTransformer, target: Target, masking: Masking = Masking(0.5)) -> None:  # noqa: B008 (frozen: nothing can change it)
        super().__init__(model, target, masking)
        self.mask_token = nn.Parameter(nn.init.normal_(torch.empty(model.config.width), std=0.02))
        self.prediction = nn.Linear(model.config.width, target.outputs)
        nn.init.zeros_(self.prediction.weight)
        nn.init.zeros_(self.prediction.bias)
        self.freeze_readout()

    def forward(self, batch: Unlabelled) -> Tensor:
        """The loss, a scalar: mean over corrupted patches, then over rows."""
        patches = self.model.cut(batch.signal)
        corrupted, chances = self.masking.hidden(patches, batch.seeds)
        placed = self.model.placed(patches.with_values(self.corrupt(patches, corrupted, chances)))
        encoded = self.model.encoded(placed.with_values(dropout(placed.values, self.model.config.dropout, self.training)))
        return self.loss(encoded, corrupted, batch)

    def corrupt(self, patches: Tokens, corrupted: Tensor, chances: Tensor) -> Tensor:
        """(B, T, D): of the `corrupted` (B, T) ones most become the mask token, some another patch of their row; `chances` (B, 2, T) in 0 … 1 choose."""
        values, chance = patches.values, chances[:, 0]
        exchanged = corrupted & (chance >= MASKED) & (chance < MASKED + EXCHANGED)
        another = values.gather(1, _another(patches.mask, chances[:, 1])[..., None].expand_as(values))
        values = values.where(~exchanged[..., None], another)
        return torch.where((corrupted & (chance < MASKED))[..., None], self.mask_token.to(values.dtype), values)


def _another(real: Tensor, draws: Tensor) -> Tensor:
    """(B, T) int64: for each real token the place of another real one of its row, any with the same probability."""
    counts = real.sum(1, keepdim=True)
    places = (~real).long().argsort(dim=1, stable=True)  # the real ones first
    own = real.cumsum(1) - 1
    further = 1 + (draws * (counts - 1)).long()
    return places.gather(1, (own + further) % counts.clamp(min=1))
