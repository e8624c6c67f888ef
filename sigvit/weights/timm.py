"""timm's names, which DeiT, MAE and DINOv2 share for the most part."""

from sigvit.weights.layout import Layout, Refusal, Rule

EMBEDDING = (
    Rule("cls_token", "class_token", "token"),
    Rule("pos_embed", "positions", "rows"),
    Rule("patch_embed.proj.{k}", "tokenizer.{k}"),
)

BLOCK = (
    Rule("blocks.{i}.norm1.{k}", "encoder.blocks.{i}.norm_attention.{k}"),
    Rule("blocks.{i}.attn.qkv.{k}", "encoder.blocks.{i}.attention.qkv.{k}"),
    Rule("blocks.{i}.attn.proj.{k}", "encoder.blocks.{i}.attention.out.{k}"),
    Rule("blocks.{i}.norm2.{k}", "encoder.blocks.{i}.norm_mlp.{k}"),
    Rule("blocks.{i}.mlp.fc1.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),
    Rule("blocks.{i}.mlp.fc2.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
)

LAYER_SCALE = (
    Rule("blocks.{i}.ls1.gamma", "encoder.blocks.{i}.scale_attention"),
    Rule("blocks.{i}.ls2.gamma", "encoder.blocks.{i}.scale_mlp"),
)

END = (
    Rule("norm.{k}", "encoder.norm.{k}"),
    Rule("head.{k}", "head.{k}"),
)

DISTILLATION = (
    Rule("dist_token", "distillation", "token"),
    Rule("head_dist.{k}", "head_distillation.{k}"),
)

ATTENTION_POOL = (
    Rule("attn_pool.latent", "pool.probe", "rows"),
    Rule("attn_pool.q.{k}", "pool.attention.qkv.{k}", part=(0, 1, 3)),
    Rule("attn_pool.kv.{k}", "pool.attention.qkv.{k}", part=(1, 3, 3)),
    Rule("attn_pool.proj.{k}", "pool.attention.out.{k}"),
    Rule("attn_pool.norm.{k}", "pool.norm.{k}"),
    Rule("attn_pool.mlp.fc1.{k}", "pool.mlp.inner.{k}"),
    Rule("attn_pool.mlp.fc2.{k}", "pool.mlp.outer.{k}"),
)

RESNET = (
    Rule("patch_embed.backbone.stem.conv.weight", "tokenizer.root.weight"),
    Rule("patch_embed.backbone.stem.norm.{k}", "tokenizer.root_norm.{k}"),
    Rule("patch_embed.backbone.conv.weight", "tokenizer.root.weight"),  # a ResNet of a root alone
    Rule("patch_embed.backbone.norm.{k}", "tokenizer.root_norm.{k}"),
    Rule("patch_embed.backbone.stages.{stage}.blocks.{unit}.conv{n}.weight", "tokenizer.stages.{stage}.{unit}.convolution{n}.weight"),
    Rule("patch_embed.backbone.stages.{stage}.blocks.{unit}.norm{n}.{k}", "tokenizer.stages.{stage}.{unit}.norm{n}.{k}"),
    Rule("patch_embed.backbone.stages.{stage}.blocks.{unit}.downsample.conv.weight", "tokenizer.stages.{stage}.{unit}.shortcut.weight"),
    Rule("patch_embed.backbone.stages.{stage}.blocks.{unit}.downsample.norm.{k}", "tokenizer.stages.{stage}.{unit}.shortcut_norm.{k}"),
)

# Arguments of timm's VisionTransformer, in the config.json that it writes.
CONFIG = {"num_heads": "heads", "img_size": "given_size", "act_layer": "gelu", "depth": "depth", "global_pool": "global_pool"}

LAYOUT = Layout(
    rules=(
        *EMBEDDING,
        Rule("reg_token", "register_tokens", "rows"),
        *BLOCK,
        *LAYER_SCALE,
        *END,
        Rule("fc_norm.{k}", "pool.mean_norm.{k}"),
        Rule("pre_logits.fc.{k}", "representation.0.{k}"),
        *DISTILLATION,
        *ATTENTION_POOL,
        *RESNET,
    ),
    standardisation="timm",
    resize="timm",
    table_rows=("all", "none"),
    grids="any",
    without_table="none",
    config=CONFIG,
    needs={"pool_include_prefix": False},
    refused=(
        Refusal("blocks.{i}.mlp.fc1_{any}", "are gates in a layer of their own, whose activation no tensor tells"),
        Refusal("norm_pre.{k}", "are a LayerNorm before the encoder (CLIP), which models here don't have"),
        Refusal("blocks.{i}.attn.q_norm.{k}", "normalise queries, which attention here doesn't"),
        Refusal("blocks.{i}.attn.k_norm.{k}", "normalise keys, which attention here doesn't"),
    ),
)
