"""Matrix products of descriptors in full single precision, the same digits in every process.

``torch.mm``, always. On a CPU its sums do not depend on which other rows and columns are multiplied beside them, nor on
the number of threads, as long as there are some of each; few are filled up. A 1x1 convolution of oneDNN's is faster on
some processors, but sums differently with another number of threads; ``docs/log.md``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

# Fewer rows or columns than this go through other code of the matrix product, which rounds differently.
LEAST = 16


def inner_products(q: Tensor, g: Tensor) -> Tensor:
    """(Q, D) and (G, D) -> (Q, G) inner products.

    Reduced precision that the caller may have asked for elsewhere (autocast, coarse products) is set aside.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(q.device.type, enabled=False):
            if q.device.type == "cpu" and q.dtype == torch.float32 and min(len(q), len(g)) < LEAST:
                return torch.mm(_filled(q), _filled(g).T)[: len(q), : len(g)].contiguous()
            return torch.mm(q, g.T)
    finally:
        torch.set_float32_matmul_precision(precision)


def _filled(x: Tensor) -> Tensor:
    """(N, D) with rows of zeros up to the least number."""
    return pad(x, (0, 0, 0, max(0, LEAST - len(x))))
