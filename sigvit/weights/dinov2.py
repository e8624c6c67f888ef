"""DINOv2's names (facebookresearch/dinov2; Oquab et al. 2024, arXiv:2304.07193; registers: Darcet et al. 2024, arXiv:2309.16588).

timm's, with register tokens that have no positions. Checkpoints of training hold blocks in chunks, and heads that are thrown away.
"""

from dataclasses import replace

from sigvit.weights import timm
from sigvit.weights.layout import Layout, Rule

BLOCK = (
    *timm.BLOCK,
    Rule("blocks.{i}.mlp.w12.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),  # gates and what they open: the giant
    Rule("blocks.{i}.mlp.w3.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
    *timm.LAYER_SCALE,
)
TRAINING = tuple(rule._replace(theirs=rule.theirs.replace("blocks.", "blocks.{chunk}.", 1)) for rule in BLOCK)

PLAIN = Layout(
    rules=(*timm.EMBEDDING, Rule("register_tokens", "register_tokens", "rows"), *BLOCK, *timm.END, *TRAINING),
    resize="dinov2",
    grids="any",
    prefixes=("module.", "_orig_mod.", "backbone."),
    wrappers=("teacher", "model", "state_dict"),
    head_width=64,
    dropped=("mask_token", "dino_head.{any}", "ibot_head.{any}"),
)

# Models with registers are run with another interpolation: antialiased, without the offset.
WITH_REGISTERS = replace(PLAIN, resize="timm", marker="register_tokens")
