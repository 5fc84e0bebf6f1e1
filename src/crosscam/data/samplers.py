"""Which images make a batch: identity batches (P x K), and the authors' anchor batches.

A sampler is a function from labels and a random generator to the batches of one epoch, each an array of image indices.
All of an epoch is drawn at once, so that every process of a distributed training knows every batch, and a training
that resumes in mid-epoch makes the same ones again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError

Batches = list[NDArray[np.int64]]


def identity_batches(labels: NDArray[np.int64], num_ids: int, num_instances: int, rng: np.random.Generator) -> Batches:
    """Batches of P identities with K images each; an epoch shows about every image once.

    Source: Hermans et al. 2017; Park & Ham, AAAI 2020, "Training" (P = 16, K = 4). The images of an identity are
    shuffled and cut into groups of K. A last group that is not full is filled by repeating the identity's images, also
    where an identity has fewer than K (``differences.md`` row 31). The epoch ends when fewer than P identities have a
    group left.

    Args:
        labels: (N,) identity of each image.
        num_ids: P.
        num_instances: K.
        rng: source of the order.
    Returns:
        Batches of P * K indices; the K images of an identity stand side by side.
    Raises:
        ValueError: fewer than P identities.
    """
    groups = [_groups(np.flatnonzero(labels == label), num_instances, rng) for label in np.unique(labels)]
    if len(groups) < num_ids:
        raise ArgumentError(f"A batch takes {num_ids} identities, but the training set has {len(groups)}.")
    batches: Batches = []
    left = np.array([len(g) for g in groups])
    while (left > 0).sum() >= num_ids:
        available = np.flatnonzero(left)
        # Identities with many groups left are drawn more often, so that few images are left over at the end.
        chosen = rng.choice(available, num_ids, replace=False, p=left[available] / left[available].sum())
        batches.append(np.concatenate([groups[i][left[i] - 1] for i in chosen]))
        left[chosen] -= 1
    return batches


def _groups(images: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    count = -(-len(images) // size)
    return np.resize(rng.permutation(images), (count, size))


def anchor_batches(labels: NDArray[np.int64], batch_size: int, num_instances: int, rng: np.random.Generator) -> Batches:
    """The authors' batches: every image is once an anchor and brings K other images of its identity.

    Source: the authors' code, ``differences.md`` rows 12 and 13. An epoch has K x N indices. The anchor itself is not
    among its K images; they are distinct where the identity has more than K images, else drawn with replacement. An
    identity with one image has no others: its anchor is repeated (row 31). Identities may repeat within a batch, and
    the last batch may be smaller.

    Args:
        labels: (N,) identity of each image.
        batch_size: images in a batch, a multiple of K.
        num_instances: K.
        rng: source of the order.
    Raises:
        ValueError: a batch size that is not a multiple of K.
    """
    if batch_size % num_instances:
        raise ArgumentError(
            f"The batch size ({batch_size}) must be a multiple of the images per anchor ({num_instances})."
        )
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    by_id = np.split(order, ends[:-1])
    sequence = np.empty((len(labels), num_instances), dtype=np.int64)
    for row, anchor in enumerate(rng.permutation(len(labels))):
        images = by_id[labels[anchor]]
        others = images[images != anchor]
        if len(others):
            sequence[row] = rng.choice(others, num_instances, replace=len(others) < num_instances)
        else:
            sequence[row] = anchor
    flat = sequence.reshape(-1)
    return [flat[i : i + batch_size] for i in range(0, len(flat), batch_size)]


def shuffled_batches(labels: NDArray[np.int64], batch_size: int, multiple: int, rng: np.random.Generator) -> Batches:
    """Batches of any images, each image once in an epoch; for losses that compare no images.

    Args:
        labels: (N,) identity of each image; only their number counts.
        batch_size: images in a batch.
        multiple: the last batch is cut to a multiple of this.
        rng: source of the order.
    """
    order = rng.permutation(len(labels))
    order = order[: len(order) // multiple * multiple]
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def in_order(count: int, batch_size: int) -> Batches:
    """Batches of 0 to ``count - 1`` as they come; the last may be smaller."""
    return [np.arange(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
