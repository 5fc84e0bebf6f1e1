"""Why two images are near or far: their squared distance, block by block, and where each block looks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.data.images import decode_image, resize_image
from crosscam.data.resizing import prepare
from crosscam.errors import EngineError
from crosscam.explain.activation import activation_maps, has_feature_map, place_contributions
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.inference.engines.last_map import SplitNetwork
from crosscam.inference.extractor import Extractor
from crosscam.models.output import Block
from crosscam.retrieval.contributions import block_weights, part_contributions
from crosscam.retrieval.distances import pairwise_distances


def lost_by_place(
    network: SplitNetwork, planes: Tensor, *, flip: bool, reference: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(N, H', W') what each place of the last feature map adds to the output along v, by its sign.

    A network from elsewhere gives no gradients, so each place of its last map A is silenced in turn. With b the output,
    a place (y, x) counts as

        M(y, x) = b(A) . v - b(A without the place) . v,        v = b, or the other image's descriptor

    where without means that all channels of the place are 0. Where only linear layers stand behind the map, as behind
    an average of all places, this is gradient times activation, see :mod:`crosscam.explain.activation`.

    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, who cover the image.

    Args:
        network: cut at that map.
        planes: (N, 3, height, width) uint8 RGB.
        flip: b is the mean over the image and its mirror image; what the mirror image adds is turned back and added.
        reference: (N, D) vectors v; without them, v is b itself.
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
    network: SplitNetwork, image: Tensor, one: NDArray[np.float32], row: NDArray[np.float32], v: NDArray[np.float32]
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


ImageLike = str | os.PathLike[str] | NDArray[np.uint8]
MapsOf = Literal["strength", "agreement"]


@dataclass(frozen=True)
class BlockShare:
    """What one block of the descriptor adds to the squared distance.

    Attributes:
        weight: by which its squared distance is multiplied; 1 unless the caller said otherwise.
        squared_distance: its addend, weight included.
        share: of the sum of all blocks, a fraction; 0 where the two descriptors are equal.
        squared_length: of the block, the mean of both descriptors, weight included.
    """

    block: Block
    weight: float
    squared_distance: float
    share: float
    squared_length: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.block.name,
            "rows": list(self.block.rows),
            "scale": self.block.num_parts,
            "kind": self.block.kind,
            "weight": self.weight,
            "squared_distance": self.squared_distance,
            "share": self.share,
        }


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """A distance, taken apart.

    Attributes:
        query, match: names of the images.
        query_image, match_image: (H, W, 3) uint8 RGB, as they were given.
        distance: as :func:`crosscam.pairwise_distances` gives it, by which galleries are ranked.
        blocks: one for each block of the layout, in its order.
        flip: whether descriptors are the mean over the image and its mirror image.
        maps_of: what the maps show, see :func:`explain_pair`.
        query_maps, match_maps: (L, H', W') in [0, 1], one for each block; None for a model without a feature map.
        no_maps: why a network from elsewhere has no maps.
        silenced: whether the maps are those of :mod:`crosscam.explain.pair`, without gradients.
    """

    query: str
    match: str
    query_image: NDArray[np.uint8]
    match_image: NDArray[np.uint8]
    distance: float
    blocks: tuple[BlockShare, ...]
    flip: bool
    maps_of: MapsOf
    query_maps: NDArray[np.float32] | None
    match_maps: NDArray[np.float32] | None
    no_maps: str = ""
    silenced: bool = False

    @property
    def squared_distance(self) -> float:
        """Sum over the blocks."""
        return float(sum(part.squared_distance for part in self.blocks))

    @property
    def deviation(self) -> float:
        """The sum over the blocks less the square of ``distance``: rounding of float32, some 1e-7."""
        return self.squared_distance - self.distance**2

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without images and maps."""
        return {
            "query": self.query,
            "match": self.match,
            "distance": self.distance,
            "squared_distance": self.squared_distance,
            "flip": self.flip,
            "blocks": [part.to_dict() for part in self.blocks],
            "check": {"sum_of_blocks": self.squared_distance, "distance_squared": self.distance**2}
            | {"deviation": self.deviation},
        }


def explain_pair(
    extractor: Extractor,
    query: ImageLike,
    match: ImageLike,
    *,
    weights: Mapping[str, float] | None = None,
    maps_of: MapsOf = "strength",
) -> PairExplanation:
    """Take the distance of two images apart.

    Descriptors have length 1, so their squared distance runs from 0 to 4. It is an exact sum over the blocks of the
    descriptor: nothing is approximated. The maps are another matter, see :mod:`crosscam.explain.activation`.

    Args:
        extractor: the model, and whether mirror images count.
        query, match: paths, or (H, W, 3) uint8 RGB arrays.
        weights: factors for the squared distances of body parts and blocks, by name or pattern (``"torso"``,
            ``"p6.local1"``, ``"*global"``); see :func:`crosscam.retrieval.contributions.block_weights`. Others keep 1.
        maps_of: ``"strength"``: what makes a block as long as it is, S = |b|^2. ``"agreement"``: what makes it agree
            with the other image's block v, S = b . v. A network from elsewhere is one block.
    Raises:
        ImageError: an image that cannot be read.
        EngineError: the extractor is of an exported file.
        ValueError: a weight for a part or block that does not exist, or below 0; or nothing left to compare.
    """
    layout = extractor.layout
    factors = block_weights(weights, layout)
    images = [image if isinstance(image, np.ndarray) else decode_image(Path(image)) for image in (query, match)]
    names = [f"the {i} image" if isinstance(p, np.ndarray) else p for i, p in (("first", query), ("second", match))]
    descriptors = extractor(images, names=names)
    parts = part_contributions(descriptors[0], descriptors[1:], layout)[0] * factors
    scaled = descriptors * np.repeat(np.sqrt(factors), [b.dim for b in layout]).astype(np.float32)
    total = parts.sum()
    shares = parts / total if total > 0 else np.zeros_like(parts)
    # Against nothing, the squared distance of a block is its squared length.
    lengths = part_contributions(np.zeros_like(descriptors[0]), descriptors, layout).mean(axis=0) * factors
    maps, no_maps = _maps(extractor, images, descriptors, maps_of)
    return PairExplanation(
        query=_name(query),
        match=_name(match),
        query_image=images[0],
        match_image=images[1],
        distance=float(pairwise_distances(scaled[:1], scaled[1:])[0, 0]),
        blocks=tuple(
            BlockShare(block, float(w), float(d), float(s), float(length))
            for block, w, d, s, length in zip(layout, factors, parts, shares, lengths, strict=True)
        ),
        flip=extractor.flip,
        maps_of=maps_of,
        query_maps=None if maps is None else maps[0],
        match_maps=None if maps is None else maps[1],
        no_maps=no_maps,
        silenced=extractor.imported is not None,
    )


def _maps(
    extractor: Extractor, images: list[NDArray[np.uint8]], descriptors: NDArray[np.float32], maps_of: MapsOf
) -> tuple[NDArray[np.float32] | None, str]:
    """(2, L, H', W') maps of the two images; or None, and why."""
    against = descriptors[::-1].copy() if maps_of == "agreement" else None
    if extractor.imported is not None:
        return _maps_of_imported(extractor, extractor.imported, images, against)
    model = extractor.model
    if not has_feature_map(model):
        return None, ""
    data = extractor.recipe.data
    pixels = np.stack([resize_image(image, data.height, data.width) for image in images])
    device = next(model.parameters()).device
    batch = prepare(torch.from_numpy(pixels).to(device), data.height, data.width)
    others = None if against is None else torch.from_numpy(against).to(device)
    places = place_contributions(model, batch, extractor.layout, flip=extractor.flip, reference=others)
    return activation_maps(places).cpu().numpy(), ""


def _maps_of_imported(
    extractor: Extractor, network: ImportedNetwork, images: list[NDArray[np.uint8]], others: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32] | None, str]:
    """(2, 1, H', W') maps of the two images; or None, and why."""
    takes = network.takes
    pixels = [resize_image(image, takes.height, takes.width, takes.resize) for image in images]
    planes = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    try:
        places = lost_by_place(network.split(), planes, flip=extractor.flip, reference=others)
    except EngineError as error:
        return None, f"No activation map of {network.name}: {error}"
    return activation_maps(torch.from_numpy(places)[:, None]).numpy(), ""


def _name(image: ImageLike) -> str:
    return "array" if isinstance(image, np.ndarray) else os.fspath(image)
