"""The start of a linear projection: LeCun's normal distribution, as JAX draws it."""

from torch import Tensor, nn

# Standard deviation of a standard normal distribution cut at two standard deviations: what is drawn is divided by it.
CUT_STANDARD_DEVIATION = 0.87962566103423978


def lecun_normal_(weight: Tensor) -> Tensor:
    """Fill (outputs, inputs…) in place with a normal distribution of variance 1 / inputs, cut at two standard deviations.

    LeCun et al., "Efficient BackProp", 1998; the paper's patch projection starts so (flax `lecun_normal`).
    """
    if weight.is_meta:  # a shape without numbers, as costs are predicted from: there is nothing to fill
        return weight
    scale = weight[0].numel() ** -0.5 / CUT_STANDARD_DEVIATION
    return nn.init.trunc_normal_(weight, std=scale, a=-2 * scale, b=2 * scale)
