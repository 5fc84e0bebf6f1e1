"""Where a network from elsewhere looks: it gives no gradients, so each place of its last map is silenced in turn.

With A the last feature map, b the output and v a vector, a place (y, x) counts as

    M(y, x) = b(A) . v - b(A without the place) . v,        v = b, or the other picture's descriptor

where without means that all channels of the place are 0. Where only linear layers stand behind the map, as behind an
average of all places, this is gradient times activation, see :mod:`crosscam.explain.activation`.

Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, who cover the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crosscam.inference.engines.last_map import SplitNetwork


def lost_by_place(
    network: SplitNetwork, planes: Tensor, *, flip: bool, reference: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """What each place of the last feature map adds to the output along v, by its sign.

    Args:
        network: cut at that map.
        planes: (N, 3, height, width) uint8 RGB.
        flip: b is the mean over the image and its mirror image; what the mirror image adds is turned back and added.
        reference: (N, D) vectors v; without them, v is b itself.
    Returns:
        (N, H', W').
    """
    found = []
    for number, image in enumerate(planes):
        sides = [image, image.flip(2)] if flip else [image]
        pairs = [_whole(network, side) for side in sides]
        b = np.mean([row for _, row in pairs], axis=0)
        v = b if reference is None else reference[number]
        lost = [_lost(network, side, *pair, v) for side, pair in zip(sides, pairs, strict=True)]
        found.append(lost[0] + lost[1][:, ::-1] if flip else lost[0])
    return np.stack(found).astype(np.float32)


def _whole(network: SplitNetwork, image: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The map and the output of one image; a batch of several holds it again and again."""
    planes = image.expand(network.batch, -1, -1, -1).contiguous()
    maps = network.front(planes)
    return maps[0], network.rest(planes, maps)[0]


def _lost(
    network: SplitNetwork,
    image: Tensor,
    one: NDArray[np.float32],
    row: NDArray[np.float32],
    v: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(H', W') (row - output without the place) . v."""
    planes = image.expand(network.batch, -1, -1, -1).contiguous()
    height, width = one.shape[:2] if network.channels_last else one.shape[1:]
    places = [(y, x) for y in range(height) for x in range(width)]
    rows = []
    for start in range(0, len(places), network.batch):
        maps = np.repeat(one[None], network.batch, axis=0)
        for each, (y, x) in zip(maps, places[start : start + network.batch], strict=False):
            each[(y, x) if network.channels_last else (slice(None), y, x)] = 0
        rows.append(network.rest(planes, maps))
    without = np.concatenate(rows)[: len(places)]
    return np.asarray((row - without) @ v, np.float32).reshape(height, width)
