"""Query expansion: a query becomes the mean of itself and its nearest gallery descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from crosscam.errors import ArgumentError
from crosscam.retrieval.distances import Descriptors, as_matrices, inner_products


@dataclass(frozen=True)
class Expansion:
    """Query expansion as a step after a search; see :func:`expand_queries`."""

    k: int = 5
    alpha: float = 3.0
    done: ClassVar[str] = "expanded"

    def __str__(self) -> str:
        return f"query expansion, k={self.k}, alpha={self.alpha:g}"

    def check(self, num_query: int, num_gallery: int) -> None:
        """Raise ValueError if so many images do not allow these settings."""
        del num_query
        check_expansion(num_gallery, self.k, self.alpha)

    def queries(self, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q, D) descriptors of expanded queries."""
        return expand_queries(query, gallery, k=self.k, alpha=self.alpha)


# Queries that are compared with the gallery at a time.
ROWS_AT_A_TIME = 256


@overload
def expand_queries(query: Tensor, gallery: Descriptors, *, k: int = 5, alpha: float = 3.0) -> Tensor: ...
@overload
def expand_queries(
    query: NDArray[Any], gallery: NDArray[Any], *, k: int = 5, alpha: float = 3.0
) -> NDArray[np.float32]: ...
@torch.no_grad()
def expand_queries(
    query: Descriptors, gallery: Descriptors, *, k: int = 5, alpha: float = 3.0
) -> Tensor | NDArray[np.float32]:
    """Descriptors of queries, moved towards what they find.

    Sources: average query expansion (``alpha=0``), Chum et al., ICCV 2007; weights of similarity to the power of alpha,
    Radenović, Tolias & Chum, "Fine-tuning CNN image retrieval with no human annotation", PAMI 2019. A neighbor that is
    less than orthogonal weighs nothing.

    Args:
        query: (Q, D) descriptors; their lengths do not matter.
        gallery: (G, D)
        k: how many neighbors enter.
        alpha: power of the neighbors' cosine similarity.
    Returns:
        (Q, D) float32 of length 1; a tensor on the query's device, or an array for arrays.
    Raises:
        ValueError: k is not from 1 to G, alpha is negative, or a shape or descriptor is not as above.
    """
    q, g = as_matrices(query, gallery)
    check_expansion(len(g), k, alpha)
    q, g = normalize(q.float(), dim=1), normalize(g.float(), dim=1)
    found = torch.empty_like(q)
    for first in range(0, len(q), ROWS_AT_A_TIME):
        block = q[first : first + ROWS_AT_A_TIME]
        cosine, nearest = inner_products(block, g).topk(k, dim=1)
        weights = cosine.clamp(min=0) ** alpha * (cosine > 0)
        found[first : first + len(block)] = normalize(block + (weights[:, :, None] * g[nearest]).sum(dim=1), dim=1)
    return found if isinstance(query, Tensor) else found.numpy()


def check_expansion(num_gallery: int, k: int, alpha: float) -> None:
    """Raise ValueError if a gallery of this size does not allow these settings."""
    if not 1 <= k <= num_gallery:
        raise ArgumentError(
            f"Query expansion: k={k}: expected from 1 to the number of gallery images, {num_gallery:,}."
        )
    if not alpha >= 0:
        raise ArgumentError(f"Query expansion: alpha={alpha}: expected at least 0.")
