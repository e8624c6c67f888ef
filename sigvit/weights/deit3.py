"""DeiT's names (facebookresearch/deit), both generations.

DeiT (Touvron et al. 2021, arXiv:2012.12877): timm's; a distilled one has a second token and a second head, and its logits are the mean of the two heads'.
DeiT III (Touvron et al. 2022, arXiv:2204.07118): LayerScale, and positions of the patches alone.
"""

from sigvit.weights import timm
from sigvit.weights.layout import Layout, Refusal, Rule

DEIT = Layout(
    rules=(*timm.EMBEDDING, *timm.BLOCK, *timm.END, *timm.DISTILLATION),
    resize="mae",
    table_rows=("all",),
)

DEIT3 = Layout(
    rules=(
        *timm.EMBEDDING,
        *timm.BLOCK,
        *timm.END,
        Rule("blocks.{i}.gamma_1", "encoder.blocks.{i}.scale_attention"),
        Rule("blocks.{i}.gamma_2", "encoder.blocks.{i}.scale_mlp"),
    ),
    resize="mae",
    table_rows=("none",),
    refused=(
        Refusal("blocks.{i}.attn1.{any}", "are a second branch beside the first, which blocks here don't have"),
        Refusal("patch_embed.proj.{n}.{any}", "are a stem of several convolutions, which isn't here"),
    ),
)
