"""MAE's names (facebookresearch/mae; He et al. 2022, arXiv:2111.06377): timm's, and in pre-training a decoder that no classifier needs.

Fine-tuned models with global pooling have their LayerNorm behind the mean (fc_norm).
"""

from sigvit.weights import timm
from sigvit.weights.layout import Layout, Refusal, Rule

LAYOUT = Layout(
    rules=(*timm.EMBEDDING, *timm.BLOCK, *timm.END, Rule("fc_norm.{k}", "pool.mean_norm.{k}")),
    resize="mae",
    dropped=("mask_token", "decoder_{any}"),
    refused=(Refusal("head.{n}.{any}", "are a linear probe behind a BatchNorm, which models here don't have"),),
)
