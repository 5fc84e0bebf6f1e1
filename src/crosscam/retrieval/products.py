"""Matrix products of descriptors in full single precision, by the faster of the two ways that torch has on a CPU.

``torch.mm`` goes to the BLAS that torch was built with, a 1x1 convolution to oneDNN. On some processors one is twice as
fast as the other; ``benchmarks/descriptors_to_scores.py`` prints both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d

Product = Callable[[Tensor, Tensor], Tensor]
# Below this many multiplications, finding out costs more than it brings.
WORTH_IT = 2_000_000_000
TRIAL = (256, 2048, 1024)


def inner_products(q: Tensor, g: Tensor) -> Tensor:
    """(Q, D) and (G, D) -> (Q, G) inner products; float32 on a CPU takes the faster way, all else ``torch.mm``.

    Reduced precision that the caller may have asked for elsewhere (autocast, coarse products) is set aside.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(q.device.type, enabled=False):
            if q.device.type == "cpu" and q.dtype == torch.float32 and len(q) * g.numel() >= WORTH_IT:
                return fastest_product()(q, g)
            return by_matrix_product(q, g)
    finally:
        torch.set_float32_matmul_precision(precision)


def by_matrix_product(q: Tensor, g: Tensor) -> Tensor:
    """(Q, G) by the BLAS of torch."""
    return torch.mm(q, g.T)


def by_convolution(q: Tensor, g: Tensor) -> Tensor:
    """(Q, G) by oneDNN: the queries are the pixels of one image, the gallery the filters of a 1x1 convolution."""
    pixels = q.contiguous().view(1, len(q), 1, q.shape[1]).permute(0, 3, 1, 2)
    out = conv2d(pixels, g.contiguous().view(*g.shape, 1, 1))
    return out.permute(0, 2, 3, 1).reshape(len(q), len(g))


@lru_cache(maxsize=1)
def fastest_product() -> Product:
    """Which way this process takes: both are tried once, for some hundredths of a second."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return by_matrix_product
    rows, columns, dim = TRIAL
    q, g = torch.ones(rows, dim), torch.ones(columns, dim)
    ways = (by_matrix_product, by_convolution)
    return min(ways, key=lambda way: min(_seconds(way, q, g) for _ in range(3)))


def _seconds(way: Product, q: Tensor, g: Tensor) -> float:
    start = time.perf_counter()
    way(q, g)
    return time.perf_counter() - start
