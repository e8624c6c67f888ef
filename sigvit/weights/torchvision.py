"""torchvision's names: with the linear layers of an MLP numbered, and the older linear_1 and linear_2."""

from sigvit.weights.layout import Layout, Refusal, Rule

LAYOUT = Layout(
    rules=(
        Rule("class_token", "class_token", "token"),
        Rule("encoder.pos_embedding", "positions", "rows"),
        Rule("conv_proj.{k}", "tokenizer.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.ln_1.{k}", "encoder.blocks.{i}.norm_attention.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.self_attention.in_proj_{k}", "encoder.blocks.{i}.attention.qkv.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.self_attention.out_proj.{k}", "encoder.blocks.{i}.attention.out.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.ln_2.{k}", "encoder.blocks.{i}.norm_mlp.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.mlp.0.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.mlp.3.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.mlp.linear_1.{k}", "encoder.blocks.{i}.mlp.inner.{k}"),
        Rule("encoder.layers.encoder_layer_{i}.mlp.linear_2.{k}", "encoder.blocks.{i}.mlp.outer.{k}"),
        Rule("encoder.ln.{k}", "encoder.norm.{k}"),
        Rule("heads.pre_logits.{k}", "representation.0.{k}"),
        Rule("heads.head.{k}", "head.{k}"),
    ),
    resize="torchvision",
    refused=(Refusal("conv_proj.conv_{any}", "are a stem of several convolutions, which isn't here"),),
)
