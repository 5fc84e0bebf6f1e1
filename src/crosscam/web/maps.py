"""Where the network looks on two pictures, drawn over them."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.images import decode_image
from crosscam.errors import EngineError
from crosscam.explain.pair import explain_pair
from crosscam.gallery import block_weights
from crosscam.report.overlay import with_heat
from crosscam.web.queries import Query
from crosscam.web.service import Service


def pair_maps(
    service: Service, query: Query, thumbnail: bytes | None, weights: Mapping[str, float] | None
) -> tuple[bytes, bytes] | None:
    """The first picture of a query and the small picture of a match, with what makes their descriptors agree in colour.

    The maps of all blocks are added, each times its weight and as strong as it is; the strongest place is brightest.

    Returns:
        Two PNGs; None where there is no network, no picture, or no feature map to look into.
    """
    own = service.gallery.thumbnails([query.entry])[0] if query.entry is not None else query.previews[0]
    if service.extractor is None or thumbnail is None or own is None:
        return None
    pictures = [decode_image(own), decode_image(thumbnail)]
    try:
        with service.describing_lock:
            found = explain_pair(service.extractor, *pictures, maps_of="agreement")
    except EngineError:  # an exported file has no feature map to look into
        return None
    if found.query_maps is None or found.match_maps is None:
        return None
    factors = block_weights(weights, service.gallery.layout)
    first, second = (
        _png(with_heat(picture, _together(maps, factors)))
        for picture, maps in zip(pictures, (found.query_maps, found.match_maps), strict=True)
    )
    return first, second


def _together(maps: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L, H', W') -> (H', W') in [0, 1]."""
    total: NDArray[np.float64] = np.tensordot(factors, maps.astype(np.float64), axes=1)
    return total / (float(total.max()) or 1.0)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
