"""Hugging Face's names: ViT and DINOv2, of transformers 5 and of the versions before (encoder.layer.i.attention.attention.query)."""

from dataclasses import replace

from sigvit.weights.layout import Layout, Rule

EMBEDDING = (
    Rule("embeddings.cls_token", "class_token", "token"),
    Rule("embeddings.position_embeddings", "positions", "rows"),
    Rule("embeddings.patch_embeddings.projection.{k}", "tokenizer.{k}"),
)

END = (
    Rule("layernorm.{k}", "encoder.norm.{k}"),
    Rule("classifier.{k}", "head.{k}"),
)

ATTENTION = (
    Rule("layers.{i}.attention.q_proj.{k}", "encoder.blocks.{i}.attention.qkv.{k}", part=(0, 1, 3)),
    Rule("layers.{i}.attention.k_proj.{k}", "encoder.blocks.{i}.attention.qkv.{k}", part=(1, 2, 3)),
    Rule("layers.{i}.attention.v_proj.{k}", "encoder.blocks.{i}.attention.qkv.{k}", part=(2, 3, 3)),
    Rule("layers.{i}.attention.o_proj.{k}", "encoder.blocks.{i}.attention.out.{k}"),
)

OLD_ATTENTION = (
    Rule("encoder.layer.{i}.attention.attention.query.{k}", "encoder.blocks.{i}.attention.qkv.{k}", part=(0, 1, 3)),
    Rule("encoder.layer.{i}.attention.attention.key.{k}", "encoder.blocks.{i}.attention.qkv.{k}", part=(1, 2, 3)),
    Rule("encoder.layer.{i}.attention.attention.value.{k}", "encoder.blocks.{i}.attention.qkv.{k}", part=(2, 3, 3)),
    Rule("encoder.layer.{i}.attention.output.dense.{k}", "encoder.blocks.{i}.attention.out.{k}"),
)

CONFIG = {"num_attention_heads": "heads", "num_hidden_layers": "depth", "image_size": "given_size", "hidden_act": "gelu", "layer_norm_eps": "eps"}

VIT = Layout(
    rules=(
        *EMBEDDING,
        Rule("layers.{i}.layernorm_before.{k}", "encoder.blocks.{i}.norm_attention.{k}"),
        *ATTENTION,
        Rule("layers.{i}.layernorm_after.{k}", "encoder.blocks.{i}.norm_mlp.{k}"),
        Rule("layers.{i}.mlp.fc1.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),
        Rule("layers.{i}.mlp.fc2.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        Rule("encoder.layer.{i}.layernorm_before.{k}", "encoder.blocks.{i}.norm_attention.{k}"),
        *OLD_ATTENTION,
        Rule("encoder.layer.{i}.layernorm_after.{k}", "encoder.blocks.{i}.norm_mlp.{k}"),
        Rule("encoder.layer.{i}.intermediate.dense.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),
        Rule("encoder.layer.{i}.output.dense.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        *END,
        Rule("pooler.dense.{k}", "representation.0.{k}"),
    ),
    eps=1e-12,
    resize="hugging_face",
    grids="any",
    prefixes=("module.", "_orig_mod.", "vit."),
    dropped=("embeddings.mask_token",),
    config=CONFIG,
    needs={"pooler_act": "tanh"},
)

DINOV2 = Layout(
    rules=(
        *EMBEDDING,
        Rule("embeddings.register_tokens", "register_tokens", "rows"),
        Rule("encoder.layer.{i}.norm1.{k}", "encoder.blocks.{i}.norm_attention.{k}"),
        *(rule._replace(theirs=rule.theirs.replace("layers.", "encoder.layer.", 1)) for rule in ATTENTION),
        *OLD_ATTENTION,
        Rule("encoder.layer.{i}.norm2.{k}", "encoder.blocks.{i}.norm_mlp.{k}"),
        Rule("encoder.layer.{i}.mlp.fc1.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),
        Rule("encoder.layer.{i}.mlp.fc2.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        Rule("encoder.layer.{i}.mlp.gate_proj.{k}", "encoder.blocks.{i}.mlp.inner.{k}", part=(0, 1, 2)),
        Rule("encoder.layer.{i}.mlp.up_proj.{k}", "encoder.blocks.{i}.mlp.inner.{k}", part=(1, 2, 2)),
        Rule("encoder.layer.{i}.mlp.down_proj.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        Rule("encoder.layer.{i}.mlp.weights_in.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),  # before transformers 5
        Rule("encoder.layer.{i}.mlp.weights_out.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        Rule("encoder.layer.{i}.layer_scale1.lambda1", "encoder.blocks.{i}.scale_attention"),
        Rule("encoder.layer.{i}.layer_scale2.lambda1", "encoder.blocks.{i}.scale_mlp"),
        *END,
    ),
    resize="hugging_face",
    grids="any",
    prefixes=("module.", "_orig_mod.", "dinov2_with_registers.", "dinov2."),
    dropped=("embeddings.mask_token",),
    config=CONFIG,
    marker="encoder.layer.{i}.norm1.weight",
)

# Models with registers are resized with antialiasing.
DINOV2_WITH_REGISTERS = replace(DINOV2, resize="timm", marker="embeddings.register_tokens")
