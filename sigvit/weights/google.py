"""Google's names: those of the paper (vision_transformer, AugReg, hybrids) and of big_vision, whose blocks number their parts anew.

Files of big_vision may hold all blocks in one array (scan), positions of the patches alone, a MAP head, or two towers of which one sees images.
"""

from dataclasses import replace

from sigvit.weights.layout import Layout, Rule

KINDS = (("scale", "weight"), ("bias", "bias"))
BLOCK = "Transformer/encoderblock_{i}/"


def norm(theirs: str, ours: str, form: str = "same") -> tuple[Rule, ...]:
    return tuple(Rule(f"{theirs}/{kind}", f"{ours}.{name}", form) for kind, name in KINDS)


def dense(theirs: str, ours: str) -> tuple[Rule, ...]:
    return Rule(f"{theirs}/kernel", f"{ours}.weight", "dense"), Rule(f"{theirs}/bias", f"{ours}.bias")


def attention(theirs: str, ours: str) -> tuple[Rule, ...]:
    thirds = tuple(
        Rule(f"{theirs}/{name}/{kind}", f"{ours}.qkv.{word}", form, (third, third + 1, 3))
        for kind, word, form in (("kernel", "weight", "heads_in"), ("bias", "bias", "heads_bias"))
        for third, name in enumerate(("query", "key", "value"))
    )
    return (*thirds, Rule(f"{theirs}/out/kernel", f"{ours}.out.weight", "heads_out"), Rule(f"{theirs}/out/bias", f"{ours}.out.bias"))


def block(attention_name: str, second_norm: str, mlp: str) -> tuple[Rule, ...]:
    ours = "encoder.blocks.{i}."
    return (
        *norm(f"{BLOCK}LayerNorm_0", f"{ours}norm_attention"),
        *attention(f"{BLOCK}{attention_name}", f"{ours}attention"),
        *norm(f"{BLOCK}{second_norm}", f"{ours}norm_mlp"),
        *dense(f"{BLOCK}{mlp}/Dense_0", f"{ours}mlp.inner"),
        *dense(f"{BLOCK}{mlp}/Dense_1", f"{ours}mlp.outer"),
    )


def map_head(prefix: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{prefix}probe", "pool.probe", "rows"),
        *attention(f"{prefix}MultiHeadDotProductAttention_0", "pool.attention"),
        *norm(f"{prefix}LayerNorm_0", "pool.norm"),
        *dense(f"{prefix}MlpBlock_0/Dense_0", "pool.mlp.inner"),
        *dense(f"{prefix}MlpBlock_0/Dense_1", "pool.mlp.outer"),
    )


UNIT = "block{stage+1}/unit{unit+1}/"
RESNET = (
    Rule("conv_root/kernel", "tokenizer.root.weight", "convolution"),
    *norm("gn_root", "tokenizer.root_norm", "channels"),
    Rule(f"{UNIT}conv{{n}}/kernel", "tokenizer.stages.{stage}.{unit}.convolution{n}.weight", "convolution"),
    *norm(f"{UNIT}gn{{n}}", "tokenizer.stages.{stage}.{unit}.norm{n}", "channels"),
    Rule(f"{UNIT}conv_proj/kernel", "tokenizer.stages.{stage}.{unit}.shortcut.weight", "convolution"),
    *norm(f"{UNIT}gn_proj", "tokenizer.stages.{stage}.{unit}.shortcut_norm", "channels"),
)

BIG_VISION = Layout(
    rules=(
        Rule("cls", "class_token", "token"),
        Rule("embedding/kernel", "tokenizer.weight", "convolution"),
        Rule("embedding/bias", "tokenizer.bias"),
        Rule("Transformer/posembed_input/pos_embedding", "positions", "rows"),
        Rule("Transformer/pos_embedding", "positions", "rows"),
        Rule("pos_embedding", "positions", "rows"),
        *block("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),
        *block("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
        *norm("Transformer/encoder_norm", "encoder.norm"),
        *dense("pre_logits", "representation.0"),
        *dense("head", "head"),
        *map_head("MAPHead_0/"),
        *map_head(""),  # big_vision had it inlined once
        *RESNET,
    ),
    gelu="tanh",
    resize="google",
    table_rows=("class", "none"),
    prefixes=("opt/target/", "params/img/", "params/"),
    wrappers=(),
    dropped=("opt/state/{any}", "txt/{any}", "t", "b"),
    stacked=("Transformer/encoderblock/", BLOCK),
    without_table="sincos",
    config={name: name for name in ("heads", "image_size", "gelu", "eps", "pool", "standardisation")},
)

# The paper's code puts the class token in front of the positions, so that it always has one.
PAPER = replace(BIG_VISION, table_rows=("class",), marker="Transformer/posembed_input/pos_embedding")
