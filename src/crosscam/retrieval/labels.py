"""The identities and cameras that a ranking is scored with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crosscam.data.labels import largest_whole, whole_numbers
from crosscam.errors import ArgumentError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labels:
    """Checked labels.

    Attributes:
        query_pids: (Q,) int64.
        gallery_pids: (G,) int64.
        query_camids: (Q,) int64.
        gallery_camids: (G,) int64.
    """

    query_pids: Ints
    gallery_pids: Ints
    query_camids: Ints
    gallery_camids: Ints


def check_labels(
    shape: tuple[int, ...],
    query_pids: ArrayLike | Tensor,
    gallery_pids: ArrayLike | Tensor,
    query_camids: ArrayLike | Tensor,
    gallery_camids: ArrayLike | Tensor,
) -> Labels:
    """The labels of a (Q, G) ``shape`` as int64 arrays.

    Raises:
        ValueError: no query, no gallery image, a length that differs, or labels that are no whole numbers.
    """
    if shape[1] == 0:
        raise ArgumentError("The gallery is empty. Expected at least one gallery image to rank.")
    if shape[0] == 0:
        raise ArgumentError("There are no queries. Expected at least one query image.")
    return Labels(
        query_pids=_label_array("query_pids", query_pids, shape[0], "queries"),
        gallery_pids=_label_array("gallery_pids", gallery_pids, shape[1], "gallery images"),
        query_camids=_label_array("query_camids", query_camids, shape[0], "queries"),
        gallery_camids=_label_array("gallery_camids", gallery_camids, shape[1], "gallery images"),
    )


def _label_array(name: str, labels: ArrayLike | Tensor, length: int, what: str) -> Ints:
    if isinstance(labels, Tensor):
        values = labels.detach().cpu()
        if values.dtype == torch.bfloat16:  # numpy has none
            values = values.float()
            if (values.abs() > largest_whole(8)).any():
                raise ArgumentError(
                    f"{name} is bfloat16, which does not tell numbers above {largest_whole(8)} apart. Give them whole."
                )
        array = values.numpy()
    else:
        array = labels if isinstance(labels, np.ma.MaskedArray) else np.asarray(labels)
    if array.shape != (length,):
        raise ArgumentError(
            f"{name} has shape {array.shape}. Expected ({length},): one for each of the {length} {what}."
        )
    return whole_numbers(array, name)
