"""The arithmetic of a Vision Transformer's forward pass, module by module, in closed form."""

from __future__ import annotations

# N = patch tokens, T = all tokens, Q = tokens that the pool needs, D = width, M = hidden units


def vit_flops(
    patches: int,
    patch_inputs: int,
    width: int,
    depth: int,
    mlp_width: int,
    num_classes: int,
    pool: str = "class",
    special: int = 1,
    representation: int | None = None,
    gated: bool = False,
) -> dict[str, int]:
    """FLOPs of the products for one input, two a multiply-add, by module; the number of heads doesn't matter.

    Parameters
    ----------
    patches, patch_inputs : N, and the numbers in a patch: channels · rows · columns, or electrodes · samples.
    width, depth, mlp_width, num_classes : as of the model.
    pool : "class", "mean" or "map"; the last block computes queries and MLP only for the tokens that it needs.
    special : class and register tokens.
    representation : units of a layer before the head, or None.
    gated : whether MLPs have gates, as many as hidden units.

    Equal to what PyTorch's counter finds. The backward pass costs twice as much, less the gradient of the input.

    >>> flops = vit_flops(patches=196, patch_inputs=768, width=768, depth=12, mlp_width=3072, num_classes=1000)
    >>> round(sum(flops.values()) / 2e9, 2), max(flops, key=flops.get)  # 17.58 GMAC where the last block computes every token
    (16.35, 'mlp')
    """
    tokens = patches + special
    needed = {"class": 1, "mean": patches, "map": patches}[pool]
    mlp = (6 if gated else 4) * width * mlp_width  # of a token
    asked = tokens * (depth - 1) + needed  # tokens that ask, and go through the MLP, summed over blocks
    parts = {
        "patches": 2 * patches * patch_inputs * width,
        "queries, keys, values": 2 * asked * width**2 + 4 * tokens * depth * width**2,
        "attention": 4 * asked * tokens * width,
        "attention's output": 2 * asked * width**2,
        "mlp": asked * mlp,
        "pool": 0 if pool != "map" else 2 * width**2 * (2 + 2 * patches) + 4 * patches * width + mlp,
        "representation": 2 * width * (representation or 0),
        "head": 2 * (representation or width) * num_classes,
    }
    return {name: flops for name, flops in parts.items() if flops}
