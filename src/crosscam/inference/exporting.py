"""A network as one file: uint8 images in, unit descriptors out; written only if it gives what the network gives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crosscam.data.image_inputs import ImageLike
from crosscam.data.images import resize_image
from crosscam.data.records import ReidDataset, pooled, ranking_labels
from crosscam.errors import ArgumentError, DataError, EngineError
from crosscam.inference.describing import check_descriptors
from crosscam.inference.engines.base import Descriptors, Engine, ModelCard, Pixels, derived_fingerprint, seal
from crosscam.inference.engines.graph import Network, let_take_none, write_fp32
from crosscam.inference.engines.onnx_engine import AGREEMENT, INT8_COSINE, INT8_IMAGES, neighbor_agreement, write_card
from crosscam.inference.engines.openvino_engine import write_openvino
from crosscam.inference.engines.registry import open_engine, open_graph, write_int8
from crosscam.inference.extractor import Extractor
from crosscam.inference.opened_model import int8_images_of
from crosscam.metrics.ranking import evaluate_descriptors
from crosscam.system.files import copy_bytes, write_atomically
from crosscam.system.locks import only_writer
from crosscam.system.text import reason_of

Format = Literal["onnx", "openvino"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml"}
LEAST_COSINE = 0.9999
MOST_LOST_MAP = 0.01
CHECKED_IMAGES = 64


def export_model(
    extractor: Extractor,
    path: Path,
    *,
    int8: bool = False,
    batch: int | None = None,
    dataset: ReidDataset | None = None,
    int8_images: Sequence[ImageLike] | None = None,
    most_lost: float = MOST_LOST_MAP,
    compared: Callable[[ModelCard], None] = lambda _: None,
    calibration: Sequence[ImageLike] | None = None,
) -> ModelCard:
    """Write a network with its preprocessing as .onnx or, for OpenVINO, as .xml and .bin.

    The file takes ``images`` (N, H, W, 3) uint8 RGB at the model's input size and gives ``descriptors`` (N, D) float32
    of length 1. It is compared with the network before it is put in its place; what was measured is in its card.

    Args:
        extractor: of a run folder, with or without the mirror pass.
        path: the file; its ending tells the format.
        int8: round convolutions to 8 bits.
        batch: images that the file takes at once; None for any number.
        dataset: images to compare on: the change of mAP is measured on its query and gallery.
        int8_images: images that int8 ranges are taken from; by default some of the dataset's training subset.
        most_lost: mAP that int8 may cost, as a fraction.
        compared: called with what was measured before anything is refused or written, so that it can be shown.
        calibration: the old name of ``int8_images``.
    Returns:
        what is known of the file; ``checks`` holds the figures.
    Raises:
        EngineError: the file does not give what the network gives, a package is missing, or the network cannot be
            written; nothing is written then.
        DataError: int8 without images, or a dataset whose images cannot be read.
        BusyError: another process writes the file.
        ValueError: a file of another ending.
    """
    if path.suffix not in SUFFIXES.values():
        raise ArgumentError(f"{path} cannot be written. Expected a name that ends in .onnx, or in .xml for OpenVINO.")
    images = int8_images_of(int8_images, calibration)
    with only_writer(path):
        return _export(extractor, path, int8, batch, dataset, images, most_lost, compared)


def _export(
    extractor: Extractor,
    path: Path,
    int8: bool,
    batch: int | None,
    dataset: ReidDataset | None,
    int8_images: Sequence[ImageLike] | None,
    most_lost: float,
    compared: Callable[[ModelCard], None],
) -> ModelCard:
    network = Network(extractor.model, extractor.card)
    if int8:
        network = replace(network, int8_images=extractor.decoded(_int8_images(dataset, int8_images)))
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        (write_int8 if int8 else write_fp32)(network, graph, batch)
        if batch is None:
            let_take_none(graph, *extractor.card.size)
        card = extractor.card
        if int8:
            card = replace(
                card, precision="int8", fingerprint=derived_fingerprint(card.fingerprint, graph.read_bytes())
            )
        written = graph
        if path.suffix == ".xml":
            written = Path(folder) / "model.xml"
            write_openvino(graph, written, card)
        card = replace(card, checks=_checks(extractor, open_graph(written), dataset))
        compared(card)
        _refuse_unlike(card, path, most_lost)
        if path.suffix == ".xml":
            write_openvino(graph, written, card)
            seal(written)
            write_atomically(path.with_suffix(".bin"), lambda p: copy_bytes(written.with_suffix(".bin"), p))
        else:
            write_card(written, card)
            seal(written)
        write_atomically(path, lambda p: copy_bytes(written, p))
    return card


def _int8_images(dataset: ReidDataset | None, given: Sequence[ImageLike] | None) -> Sequence[ImageLike]:
    found: Sequence[ImageLike] = given if given is not None else [s.path for s in dataset.train] if dataset else []
    if not found:
        raise DataError(
            "int8 takes its ranges from images, and there are none. Give a dataset with a training subset (--data), "
            "or a folder of images (--calibration)."
        )
    step = max(1, len(found) // INT8_IMAGES)
    return found[::step][:INT8_IMAGES]


def _checks(extractor: Extractor, engine: Engine, dataset: ReidDataset | None) -> dict[str, Any]:
    """How a file compares with the network: cosines, neighbors and, with a dataset, mAP."""
    reference = open_engine("torch", Network(extractor.model, extractor.card))
    if dataset is None or not (dataset.query and dataset.gallery):
        pixels = drawn_noise(CHECKED_IMAGES, extractor.card.size)
        expected = reference(pixels)
        check_descriptors(expected, ["an image of noise"] * len(pixels))
        return {"compared_on": f"{len(pixels)} images of noise", **_compare(expected, _run(engine, pixels))}
    both: list[tuple[Descriptors, Descriptors]] = []
    for samples in (dataset.query, dataset.gallery):
        parts = []
        for start in range(0, len(samples), 32):
            paths = [s.path for s in samples[start : start + 32]]
            pixels = extractor.decoded(paths)
            parts.append((reference(pixels), _run(engine, pixels)))
            check_descriptors(parts[-1][0], paths)
        expected, found = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        both.append((expected, found))
    (query, query_found), (gallery, gallery_found) = both
    before, after = (_mean_ap(extractor, dataset, q, g) for q, g in ((query, gallery), (query_found, gallery_found)))
    return {
        "compared_on": f"query and gallery of {dataset.name}, fingerprint {dataset.fingerprint()}",
        **_compare(np.concatenate((query, gallery)), np.concatenate((query_found, gallery_found))),
        "mAP_torch": before,
        "mAP": after,
        "mAP_change": after - before,
    }


def _run(engine: Engine, pixels: Pixels) -> Descriptors:
    try:
        return engine(pixels)
    except Exception as error:  # the runtimes raise classes of their own
        raise EngineError(
            f"The exported file does not run ({reason_of(error)[:200]}). "
            "A network whose graph depends on the number of images needs --batch with that number."
        ) from error


def _compare(expected: Descriptors, found: Descriptors) -> dict[str, Any]:
    cosines = (expected * found).sum(axis=1)
    return {
        "pictures": len(expected),
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "same_nearest": neighbor_agreement(expected[:2000], found[:2000]),
    }


def _mean_ap(extractor: Extractor, dataset: ReidDataset, query: Descriptors, gallery: Descriptors) -> float:
    query, gallery = pooled(dataset, dataset.query, query), pooled(dataset, dataset.gallery, gallery)
    ap = extractor.recipe.evaluation.ap
    return evaluate_descriptors(query, gallery, *ranking_labels(dataset), ap=ap, protocol=dataset.protocol).mAP


def _refuse_unlike(card: ModelCard, path: Path, most_lost: float) -> None:
    checks = card.checks
    least = INT8_COSINE if card.precision == "int8" else LEAST_COSINE
    reason = ""
    if not checks["cosine_min"] >= least:
        reason = f"the smallest cosine is {checks['cosine_min']:.5f}, expected at least {least}"
    elif checks.get("mAP_change", 0.0) < -most_lost:
        reason = f"mAP falls by {-100 * checks['mAP_change']:.2f} points, expected at most {100 * most_lost:.2f}"
    elif card.precision == "int8" and "mAP" not in checks and checks["same_nearest"] < AGREEMENT:
        reason = f"{100 * checks['same_nearest']:.0f} % of the images keep their nearest other image"
    if reason:
        raise EngineError(
            f"{path} is not written: it does not give what the network gives ({reason}, on {checks['compared_on']}). "
            + (
                "Give more images for its ranges, or leave --int8 out."
                if card.precision == "int8"
                else "Please report this."
            )
        )


def drawn_noise(count: int, size: tuple[int, int]) -> Pixels:
    """(count, H, W, 3) uint8 images of soft colored noise, always the same: where there is no data to compare on."""
    height, width = size
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 12, 6, 3), dtype=np.uint8)
    fine = generator.integers(-20, 21, (count, height, width, 3))
    soft = np.stack([resize_image(image, height, width) for image in coarse])
    return (soft + fine).clip(0, 255).astype(np.uint8)
