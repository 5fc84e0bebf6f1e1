"""Render a multi-camera dataset of drawn pedestrians, for tests and demonstrations; and a contact sheet of it."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from crosscam.data.datasets.market1501 import read_market1501
from crosscam.data.images import decode_image
from crosscam.data.records import Sample
from crosscam.data.synthetic.camera import draw_cameras
from crosscam.data.synthetic.drawn_folder import drawn_folder
from crosscam.data.synthetic.identities import MAX_IDS, SHARING_GROUP, Identity, draw_identities, draw_stranger
from crosscam.data.synthetic.image import Track, draw_track
from crosscam.errors import ArgumentError, DataError
from crosscam.system.cores import available_cores
from crosscam.system.files import make_folder, write_atomically

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
IDENTITIES_FILE = "identities.json"
MAX_CAMERAS = 9
SEEN_SHARE = 0.85
# Distractors and junk, as shares of the gallery; of the distractors, this share shows a person.
DISTRACTOR_SHARE, JUNK_SHARE = 0.05, 0.03
STRANGER_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class RenderSummary:
    """What :func:`render_dataset` wrote: the folder and how many of each.

    Attributes:
        out: the dataset's folder.
        train_ids, test_ids, cameras: how many.
        train, query, gallery: images; the gallery counts its distractors and junk.
        distractors, junk: images of pid 0 and pid -1 in the gallery.
        sharing: identities that have one garment in common with others.
    """

    out: Path
    train_ids: int
    test_ids: int
    cameras: int
    train: int
    query: int
    gallery: int
    distractors: int
    junk: int
    sharing: int


@dataclass(frozen=True, slots=True)
class _Job:
    """All images of one identity at one camera, or one image of a distractor or junk."""

    pid: int
    camid: int
    folder: str
    images: int
    query_index: int
    number: int = 0


def render_dataset(
    out: Path,
    *,
    ids: int,
    cameras: int,
    images: int,
    collide: float,
    seed: int,
    test_share: float = 0.4,
    group: int = SHARING_GROUP,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RenderSummary:
    """Draw a dataset in Market-1501's layout.

    The bytes depend on the arguments alone, not on the number of processes: every image has its own random
    stream, derived from the seed, the identity, the camera and the image's index.

    Args:
        out: the folder to write; it must be empty or missing.
        ids: identities, 4 to ``MAX_IDS``; about ``test_share`` of them are test identities.
        cameras: 2 to 9. Each identity passes at least two of them, and most of them.
        images: images of each identity at each camera that it passes, 2 to 99.
        collide: share of the identities, in [0, 1], that have exactly the same upper or lower garment as others
            of their subset, in groups of two to ``group``. All other garments of the identities differ in pattern or
            color.
        seed: any integer.
        test_share: share of the identities in ``query`` and ``bounding_box_test``, above 0 and below 1.
        group: most people who share one garment, 2 to 99.
        processes: how many processes draw; None uses all processors.
        progress: called with the images written so far and the images in all.
    Returns:
        What was written. ``identities.json`` beside the images tells who wears what and who shares it.
    Raises:
        ValueError: an argument out of its range.
        DataError: the folder is not empty, or cannot be written.
        BusyError: another process draws there.
    """
    _check_arguments(ids, cameras, images, collide, test_share, group, processes)
    out = Path(out)
    people = draw_identities(ids, test_share, collide, seed, group)
    jobs = list(_plan(people, cameras, images, seed))
    with drawn_folder(out, "the rendered dataset") as part:
        for folder in (TRAIN, QUERY, GALLERY):
            make_folder(part / folder)
        _write_identities(part, people, jobs, collide, seed, cameras)
        _run(part, people, jobs, cameras, seed, processes or available_cores(), progress)
    return _summary(out, people, jobs, cameras)


def _check_arguments(
    ids: int, cameras: int, images: int, collide: float, test_share: float, group: int, processes: int | None
) -> None:
    for name, value, low, high in (
        ("ids", ids, 4, MAX_IDS),
        ("cameras", cameras, 2, MAX_CAMERAS),
        ("images", images, 2, 99),
        ("group", group, 2, 99),
        ("processes", 1 if processes is None else processes, 1, 1024),
    ):
        if not low <= value <= high:
            raise ArgumentError(f"{name} must be from {low} to {high}, got {value}.")
    if not 0.0 <= collide <= 1.0:
        raise ArgumentError(f"collide is a share of the identities, from 0 to 1, got {collide}.")
    if not 0.0 < test_share < 1.0:
        raise ArgumentError(f"test_share must lie between 0 and 1, got {test_share}.")


def _plan(people: tuple[Identity, ...], cameras: int, images: int, seed: int) -> Iterator[_Job]:
    gallery = 0
    for person in people:
        rng = random.Random(f"crosscam/{seed}/plan/{person.pid}")
        order = rng.sample(range(1, cameras + 1), cameras)
        seen = sorted(order[:2] + [c for c in order[2:] if rng.random() < SEEN_SHARE])
        for camid in seen:
            query_index = rng.randrange(images) if person.subset == "test" else -1
            folder = TRAIN if person.subset == "train" else GALLERY
            gallery += images - 1 if person.subset == "test" else 0
            yield _Job(person.pid, camid, folder, images, query_index)
    for pid, share in ((0, DISTRACTOR_SHARE), (-1, JUNK_SHARE)):
        for number in range(round(gallery * share)):
            yield _Job(pid, 1 + number % cameras, GALLERY, 1, -1, number)


def _write_identities(
    out: Path, people: tuple[Identity, ...], jobs: list[_Job], collide: float, seed: int, cameras: int
) -> None:
    seen: dict[int, list[int]] = {}
    for job in jobs:
        seen.setdefault(job.pid, []).append(job.camid)
    rows = [{**asdict(person), "cameras": seen[person.pid]} for person in people]
    table = {
        "seed": seed,
        "collide": collide,
        "cameras": [asdict(camera) for camera in draw_cameras(cameras, seed)],
        "identities": rows,
    }
    write_atomically(out / IDENTITIES_FILE, json.dumps(table, indent=1) + "\n", error=DataError)


def _summary(out: Path, people: tuple[Identity, ...], jobs: list[_Job], cameras: int) -> RenderSummary:
    test_ids = sum(person.subset == "test" for person in people)
    query = sum(job.query_index >= 0 for job in jobs)
    return RenderSummary(
        out=out,
        train_ids=len(people) - test_ids,
        test_ids=test_ids,
        cameras=cameras,
        train=sum(job.images for job in jobs if job.folder == TRAIN),
        query=query,
        gallery=sum(job.images for job in jobs if job.folder == GALLERY) - query,
        distractors=sum(job.pid == 0 for job in jobs),
        junk=sum(job.pid < 0 for job in jobs),
        sharing=sum(person.shares is not None for person in people),
    )


def _run(
    out: Path,
    people: tuple[Identity, ...],
    jobs: list[_Job],
    cameras: int,
    seed: int,
    processes: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    by_pid = {person.pid: person for person in people}
    total, done = sum(job.images for job in jobs), 0
    tasks = [(out, by_pid.get(job.pid), job, cameras, seed) for job in jobs]
    with ExitStack() as stack:
        drawn: Iterable[int] = map(_draw_job, tasks)
        if processes > 1 and total >= 200:
            # The workers only draw: a fork starts at once, and the caller's script need not guard its main part.
            method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
            pool = stack.enter_context(ProcessPoolExecutor(processes, multiprocessing.get_context(method)))
            drawn = pool.map(_draw_job, tasks, chunksize=8)
        for written in drawn:
            done += written
            if progress:
                progress(done, total)


def _draw_job(task: tuple[Path, Identity | None, _Job, int, int]) -> int:
    """Draw and write the images of one job; returns how many."""
    out, person, job, cameras, seed = task
    name = f"{job.pid}/{job.camid}/{job.number}"
    rng = random.Random(f"crosscam/{seed}/job/{name}")
    frame = rng.randrange(100, 90000)
    if job.pid <= 0:
        frame = 100 + 7 * job.number
        person = draw_stranger(rng) if job.pid < 0 or rng.random() < STRANGER_SHARE else None
    track = Track(name, job.camid, person, missed=job.pid < 0)
    pid = "-1" if job.pid < 0 else f"{job.pid:04d}"
    quality = draw_cameras(cameras, seed)[job.camid - 1].quality
    for index, image in enumerate(draw_track(track, range(job.images), cameras, seed)):
        frame += rng.randint(5, 25) if index else 0
        folder = QUERY if index == job.query_index else job.folder
        path = out / folder / f"{pid}_c{job.camid}s1_{frame:06d}_{index + 1:02d}.jpg"
        image.save(path, quality=quality)
    return job.images


CELL_WIDTH, CELL_HEIGHT = 64, 128
GAP, MARGIN = 2, 34


def contact_sheet(
    dataset_folder: Path, out_png: Path, *, identities: int = 10, images_per_camera: int = 2
) -> tuple[int, ...]:
    """Write one PNG with the first identities of a dataset in Market-1501 layout.

    Rows are identities, by pid; columns are cameras, each with its first images by name. A camera that an identity
    never passed stays white.

    Args:
        dataset_folder: a folder that :func:`crosscam.data.datasets.market1501.read_market1501` reads.
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
