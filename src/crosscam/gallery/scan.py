"""The k nearest rows of each query, exactly."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.segments import Rows, product_error, query_rows
from crosscam.models.output import Layout
from crosscam.retrieval.contributions import part_contributions
from crosscam.system.cores import available_cores

Keys = NDArray[np.int64]
Chunk = tuple[Keys, Callable[[], Iterable[Rows]]]
"""(n,) keys, and what gives their (n, D + L) rows, piece by piece; both may be views."""

QUERIES_AT_ONCE = 256
REFINED_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest rows of one query, nearest first.

    Attributes:
        keys: (k,).
        contributions: (k, L) float64, weights applied.
        distances: (k,) float64, Euclidean.
    """

    keys: Keys
    contributions: NDArray[np.float64]
    distances: NDArray[np.float64]


@dataclass
class _Best:
    """Candidates of one query so far: all whose product is within the margin of the k-th largest."""

    k: int
    margin: float
    keys: list[Keys] = field(default_factory=list)
    products: list[Rows] = field(default_factory=list)
    least: float = -np.inf

    def offer(self, keys: Keys, products: Rows) -> None:
        chosen = np.flatnonzero(products >= self.least)
        if len(chosen) > 4 * self.k + 64:
            kth = np.partition(products[chosen], len(chosen) - self.k)[len(chosen) - self.k]
            chosen = chosen[products[chosen] >= float(kth) - self.margin]
        if not len(chosen):
            return
        self.keys.append(keys[chosen])
        self.products.append(products[chosen])
        self._prune()

    def _prune(self) -> None:
        keys, products = np.concatenate(self.keys), np.concatenate(self.products)
        if len(products) > self.k:
            self.least = float(np.partition(products, len(products) - self.k)[len(products) - self.k]) - self.margin
            kept = products >= self.least
            keys, products = keys[kept], products[kept]
        self.keys, self.products = [keys], [products]

    @property
    def candidates(self) -> Keys:
        return self.keys[0] if self.keys else np.empty(0, np.int64)


def nearest(
    queries: Rows,
    weights: NDArray[np.float64],
    layout: Layout,
    k: int,
    chunks: Callable[[], Iterable[Chunk]],
    fetch: Callable[[Keys], Rows],
    ties: Callable[[Keys], Keys],
) -> list[Nearest]:
    """The k nearest rows of each query; equal distances in the order of ``ties``.

    Args:
        queries: (Q, D) of length 1.
        weights: (L,) factors of the blocks.
        layout: L blocks.
        k: at least 1.
        chunks: all rows, some at a time; called once for every ``QUERIES_AT_ONCE`` queries.
        fetch: keys to (n, D + L) rows.
        ties: keys to what ranks equal distances.
    """
    margin = product_error(weights, layout)
    results = []
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        some = queries[first : first + QUERIES_AT_ONCE]
        wide = query_rows(some, weights, layout)
        best = [_Best(k, margin) for _ in some]
        for keys, products in _products(wide, chunks()):
            for one, product in zip(best, products, strict=True):
                one.offer(keys, product)
        for query, one in zip(some, best, strict=True):
            results.append(_refine(query, one.candidates, weights, layout, k, fetch, ties))
    return results


def _products(wide: Rows, chunks: Iterable[Chunk]) -> Iterator[tuple[Keys, Rows]]:
    """Keys and (Q, n) products, chunk by chunk."""
    if len(wide) > 1:
        for keys, rows in chunks:
            yield keys, np.concatenate([wide @ piece.T for piece in rows()], axis=1)
        return
    yield from _in_threads(wide[0], deque(chunks))


def _in_threads(query: Rows, waiting: deque[Chunk]) -> list[tuple[Keys, Rows]]:
    """Keys and (1, n) products of one query, which are as fast as the memory.

    This thread works until nothing waits, and others help if the machine lets them: the threads of a matrix library
    wait for each other instead, which costs a time slice in each chunk on a busy machine.
    """
    found: list[tuple[Keys, Rows]] = []

    def work() -> None:
        while True:
            try:
                keys, rows = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            found.append((keys, np.concatenate([dots(piece, query) for piece in rows()])[None]))

    helpers = [_threads().submit(work) for _ in range(min(available_cores(), len(waiting)) - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():
            helper.result()
    return found


def dots(rows: Rows, query: Rows) -> Rows:
    """(n,) dot products, in this thread."""
    if hasattr(np, "vecdot"):  # numpy 2
        found: Rows = np.vecdot(rows, query)
        return found
    return rows @ query


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, available_cores() - 1), thread_name_prefix="crosscam-scan")


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # A child process has none of its parent's threads.
    os.register_at_fork(after_in_child=_threads.cache_clear)


def weighted_contributions(
    query: Rows, rows: Rows, weights: NDArray[np.float64], layout: Layout
) -> NDArray[np.float64]:
    """(n, L) squared distances block by block, times the weights, of a query (D,) and kept rows (n, D + L)."""
    found: NDArray[np.float64] = part_contributions(query, rows[:, : layout[-1].stop], layout) * weights
    return found


def _refine(
    query: Rows,
    candidates: Keys,
    weights: NDArray[np.float64],
    layout: Layout,
    k: int,
    fetch: Callable[[Keys], Rows],
    ties: Callable[[Keys], Keys],
) -> Nearest:
    """The candidates' distances in float64, in order; many equal images make many candidates, so some at a time."""
    keys = np.empty(0, np.int64)
    parts = np.empty((0, len(layout)))
    for first in range(0, len(candidates), REFINED_AT_ONCE):
        some = candidates[first : first + REFINED_AT_ONCE]
        keys = np.concatenate([keys, some])
        parts = np.concatenate([parts, weighted_contributions(query, fetch(some), weights, layout)])
        order = np.lexsort((ties(keys), parts.sum(axis=1)))[:k]
        keys, parts = keys[order], parts[order]
    return Nearest(keys, parts, np.sqrt(parts.sum(axis=1)))
