"""A contact sheet: many people at a glance, one row for each identity and one column for each camera."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from crosscam.data.images import decode_image
from crosscam.data.market1501 import read_market1501
from crosscam.data.records import Sample
from crosscam.errors import ArgumentError, DataError
from crosscam.system.files import write_atomically

CELL_WIDTH, CELL_HEIGHT = 64, 128
GAP, MARGIN = 2, 34


def contact_sheet(
    dataset_folder: Path, out_png: Path, *, identities: int = 10, images_per_camera: int = 2
) -> tuple[int, ...]:
    """Write one PNG with the first identities of a data set in Market-1501 layout.

    Rows are identities, by pid; columns are cameras, each with its first images by name. A camera that an identity
    never passed stays white.

    Args:
        dataset_folder: a folder that :func:`crosscam.data.market1501.read_market1501` reads.
        out_png: the file to write.
        identities: rows at most.
        images_per_camera: images side by side for each camera.
    Returns:
        The pids of the rows.
    Raises:
        ValueError: ``identities`` or ``images_per_camera`` below 1.
        DataError: the folder holds no identity, or the file cannot be written.
    """
    if identities < 1 or images_per_camera < 1:
        raise ArgumentError(
            f"A contact sheet needs at least one identity and one image, got {identities}, {images_per_camera}."
        )
    dataset = read_market1501(Path(dataset_folder))
    by_place: dict[int, dict[int, list[Sample]]] = {}
    for sample in (*dataset.train, *dataset.query, *dataset.gallery):
        if sample.pid > 0:
            by_place.setdefault(sample.pid, {}).setdefault(sample.camid, []).append(sample)
    pids = sorted(by_place)[:identities]
    if not pids:
        raise DataError(f"No identity in {dataset_folder}. Expected images of pid 1 or more.")
    camids = sorted({camid for pid in pids for camid in by_place[pid]})
    sheet = _empty_sheet(pids, camids, images_per_camera)
    for row, pid in enumerate(pids):
        for camid, samples in by_place[pid].items():
            first = sorted(samples, key=lambda sample: sample.path.name)[:images_per_camera]
            for place, sample in enumerate(first, start=camids.index(camid) * images_per_camera):
                image = Image.fromarray(decode_image(sample.path)).resize((CELL_WIDTH, CELL_HEIGHT))
                sheet.paste(image, (MARGIN + place * (CELL_WIDTH + GAP), 16 + row * (CELL_HEIGHT + GAP)))
    write_atomically(Path(out_png), lambda path: sheet.save(path, "PNG"), error=DataError)
    return tuple(pids)


def _empty_sheet(pids: list[int], camids: list[int], images_per_camera: int) -> Image.Image:
    width = MARGIN + len(camids) * images_per_camera * (CELL_WIDTH + GAP)
    sheet = Image.new("RGB", (width, 16 + len(pids) * (CELL_HEIGHT + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, camid in enumerate(camids):
        draw.text((MARGIN + k * images_per_camera * (CELL_WIDTH + GAP), 2), f"camera {camid}", fill="black")
    for row, pid in enumerate(pids):
        draw.text((2, 16 + row * (CELL_HEIGHT + GAP)), f"{pid:04d}", fill="black")
    return sheet
