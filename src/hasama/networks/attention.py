"""Attention among the places of a map."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hasama.networks.layers import scaled
from hasama.shapes import Images

HEAD = 32
"""Channels of a head, whatever the width: so that the heads of a narrow network live on in a wider one."""


class SelfAttention(nn.Module):
    """[N, C, h, w] -> the same: every place sees all others at once.

    Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", eq. 1 to 3, with several heads. Queries and
    keys are of length one (Henry et al. 2020, "Query-Key Normalization for Transformers", eq. 3), so that large maps
    do not make it choose one place; what their products are multiplied by is not learnt. The last layer begins at
    zero, as in a residual block: at first the maps pass as they are.

    Args:
        width: channels of the maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = -(-width // HEAD)
        self.ask = scaled(nn.Conv2d(width, 3 * HEAD * self.heads, 1, bias=False))
        self.tell = nn.Conv2d(HEAD * self.heads, width, 1, bias=False)
        nn.init.zeros_(self.tell.weight)

    def forward(self, maps: Images) -> Images:
        count, _, *size = maps.shape
        places = self.ask(maps).flatten(2).mT.unflatten(2, (self.heads, 3, HEAD))
        queries, keys, values = places.permute(3, 0, 2, 1, 4)  # [N, heads, h * w, 32] each
        queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
        exact = torch.are_deterministic_algorithms_enabled()  # the quick ways of a graphics card add in any order
        with sdpa_kernel(SDPBackend.MATH) if exact else nullcontext():
            told = F.scaled_dot_product_attention(queries, keys, values, scale=HEAD**0.5)
        return maps + self.tell(told.transpose(1, 2).reshape(count, *size, -1).movedim(3, 1))
