"""Render a multi-camera data set of drawn pedestrians: data for tests and demonstrations, without any download."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.render_camera import (
    NOISE_SIDE,
    Camera,
    Layer,
    Sensor,
    crease_table,
    draw_cameras,
    draw_occluder,
    draw_scene,
    noise_table,
)
from crosscam.data.render_identities import MAX_IDS, Identity, draw_identities, draw_stranger
from crosscam.data.render_person import HEIGHT, WIDTH, Pose, View, draw_person
from crosscam.errors import DataError

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
IDENTITIES_FILE = "identities.json"
MAX_CAMERAS = 9
SEEN_SHARE = 0.85
DISTRACTOR_SHARE, JUNK_SHARE = 0.05, 0.03
STRANGERS, OCCLUDERS = 24, 24


@dataclass(frozen=True, slots=True)
class RenderSummary:
    """What :func:`render_dataset` wrote: the folder and how many of each.

    Attributes:
        out: the data set's folder.
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
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RenderSummary:
    """Draw a data set in Market-1501's layout.

    The bytes depend on the arguments alone, not on the number of processes: every image has its own random
    stream, derived from the seed, the identity, the camera and the image's index.

    Args:
        out: the folder to write; it must be empty or missing.
        ids: identities, 4 to ``MAX_IDS``; about ``test_share`` of them are test identities.
        cameras: 2 to 9. Each identity passes at least two of them, and most of them.
        images: images of each identity at each camera that it passes, 2 to 99.
        collide: share of the identities, in [0, 1], that have exactly the same upper or lower garment as one to
            three others of their subset. All other garments of the identities differ in pattern or colour.
        seed: any integer.
        test_share: share of the identities in ``query`` and ``bounding_box_test``, above 0 and below 1.
        processes: how many processes draw; None uses all processors.
        progress: called with the images written so far and the images in all.
    Returns:
        What was written. ``identities.json`` beside the images tells who wears what and who shares it.
    Raises:
        ValueError: an argument out of its range.
        DataError: the folder is not empty, or cannot be written.
    """
    _check_arguments(ids, cameras, images, collide, test_share, processes)
    out = Path(out)
    people = draw_identities(ids, test_share, collide, seed)
    jobs = list(_plan(people, cameras, images, seed))
    try:
        _make_folders(out)
        _write_identities(out, people, jobs, collide, seed, cameras)
        _run(out, people, jobs, cameras, seed, processes or _processors(), progress)
    except OSError as error:
        raise DataError(f"Cannot write the rendered data set to {out}: {error.strerror or error}.") from error
    return _summary(out, people, jobs, cameras)


def _check_arguments(
    ids: int, cameras: int, images: int, collide: float, test_share: float, processes: int | None
) -> None:
    for name, value, low, high in (
        ("ids", ids, 4, MAX_IDS),
        ("cameras", cameras, 2, MAX_CAMERAS),
        ("images", images, 2, 99),
        ("processes", 1 if processes is None else processes, 1, 1024),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}.")
    if not 0.0 <= collide <= 1.0:
        raise ValueError(f"collide is a share of the identities, from 0 to 1, got {collide}.")
    if not 0.0 < test_share < 1.0:
        raise ValueError(f"test_share must lie between 0 and 1, got {test_share}.")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_folders(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not an empty folder. Give a new folder, or empty this one first.")
    for folder in (TRAIN, QUERY, GALLERY):
        (out / folder).mkdir(parents=True, exist_ok=True)


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
    (out / IDENTITIES_FILE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


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


# Drawing ------------------------------------------------------------------------------------------------


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
    if processes == 1 or total < 200:
        for task in tasks:
            done += _draw_job(task)
            if progress:
                progress(done, total)
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(processes, multiprocessing.get_context(method)) as pool:
        for written in pool.map(_draw_job, tasks, chunksize=8):
            done += written
            if progress:
                progress(done, total)


@dataclass(frozen=True, slots=True)
class _Studio:
    """What all images of one data set are drawn with; made once in each process."""

    cameras: tuple[Camera, ...]
    sensors: tuple[Sensor, ...]
    scenes: tuple[Image.Image, ...]
    creases: NDArray[np.float32]
    strangers: tuple[Identity, ...]
    occluders: tuple[Layer, ...]


@lru_cache(maxsize=2)
def _studio(cameras: int, seed: int) -> _Studio:
    rng = random.Random(f"crosscam/{seed}/studio")
    devices, noise = draw_cameras(cameras, seed), noise_table(seed % 2**32)
    return _Studio(
        cameras=devices,
        sensors=tuple(Sensor(camera, noise) for camera in devices),
        scenes=tuple(draw_scene(camera, seed) for camera in devices),
        creases=crease_table(seed % 2**32),
        strangers=tuple(draw_stranger(rng) for _ in range(STRANGERS)),
        occluders=tuple(draw_occluder(rng) for _ in range(OCCLUDERS)),
    )


def _draw_job(task: tuple[Path, Identity | None, _Job, int, int]) -> int:
    out, person, job, cameras, seed = task
    studio = _studio(cameras, seed)
    camera = studio.cameras[job.camid - 1]
    track = random.Random(f"crosscam/{seed}/track/{job.pid}/{job.camid}/{job.number}")
    if person is None and (job.pid < 0 or track.random() < 0.7):
        person = draw_stranger(track)
    yaw = camera.yaw + (math.pi if track.random() < camera.turned else 0.0) + track.gauss(0.0, camera.yaw_spread)
    exposure = track.uniform(0.82, 1.2)
    place = track.random()
    frame = track.randrange(100, 90000)
    for index in range(job.images):
        rng = random.Random(f"crosscam/{seed}/image/{job.pid}/{job.camid}/{job.number}/{index}")
        scene = _background(studio.scenes[job.camid - 1], place, rng)
        if person is not None:
            scene = _compose(scene, studio, camera, person, yaw, rng, junk=job.pid < 0)
        image = studio.sensors[job.camid - 1].record(scene, rng, exposure * rng.uniform(0.92, 1.08))
        frame += rng.randint(5, 25)
        pid = "-1" if job.pid < 0 else f"{job.pid:04d}"
        name = f"{pid}_c{job.camid}s1_{frame:06d}_{index + 1 if job.pid > 0 else job.number % 100:02d}.jpg"
        folder = QUERY if index == job.query_index else job.folder
        image.save(out / folder / name, quality=camera.quality)
    return job.images


def _background(scene: Image.Image, place: float, rng: random.Random) -> NDArray[np.float32]:
    """(128, 64, 3) crop of the scene, near the same place for all images of one track."""
    scale = rng.uniform(0.85, 1.2)
    w, h = WIDTH * scale, HEIGHT * scale
    left = min(max(0.0, place * (scene.width - w) + rng.gauss(0.0, 14.0)), scene.width - w)
    top = min(max(0.0, rng.uniform(0.25, 0.75) * (scene.height - h)), scene.height - h)
    crop = scene.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    return np.array(crop, dtype=np.float32)


def _compose(
    scene: NDArray[np.float32],
    studio: _Studio,
    camera: Camera,
    person: Identity,
    yaw: float,
    rng: random.Random,
    *,
    junk: bool,
) -> NDArray[np.float32]:
    slip = 5.0 if junk else 1.0
    size = camera.size * math.exp(rng.gauss(0.0, camera.misalignment * slip))
    shift = camera.misalignment * size * slip
    view = View(
        centre=WIDTH / 2 + rng.gauss(0.0, shift),
        ground=(HEIGHT + size) / 2 + rng.gauss(0.0, shift),
        size=size,
        pitch=camera.pitch,
        light=camera.light,
    )
    if rng.random() < 0.12:
        scene = _add_stranger(scene, studio, view, rng, behind=True)
    scene = _over(scene, _draw(studio, person, _pose(yaw + rng.gauss(0.0, 0.18), rng), view, rng))
    if rng.random() < camera.occluded:
        if rng.random() < 0.3:
            return _add_stranger(scene, studio, view, rng, behind=False)
        colour, coverage = studio.occluders[rng.randrange(OCCLUDERS)]
        scene = _over(scene, (colour, coverage))
    return scene


def _pose(yaw: float, rng: random.Random) -> Pose:
    walking = rng.random() < 0.88
    return Pose(
        yaw=yaw,
        phase=rng.uniform(0.0, 2.0 * math.pi),
        stride=rng.uniform(0.25, 0.5) if walking else rng.uniform(0.0, 0.1),
        arms=rng.uniform(0.15, 0.55) if walking else rng.uniform(0.0, 0.1),
        elbows=rng.uniform(0.1, 0.8),
        lean=rng.uniform(-0.02, 0.12),
        raised=rng.choice((-1, 1)) if rng.random() < 0.08 else 0,
    )


def _draw(studio: _Studio, person: Identity, pose: Pose, view: View, rng: random.Random) -> Layer:
    x, y = rng.randrange(NOISE_SIDE - WIDTH), rng.randrange(NOISE_SIDE - HEIGHT)
    return draw_person(person, pose, view, studio.creases[y : y + HEIGHT, x : x + WIDTH])


def _over(scene: NDArray[np.float32], layer: Layer) -> NDArray[np.float32]:
    colour, coverage = layer
    return scene * (1.0 - coverage) + colour


def _add_stranger(
    scene: NDArray[np.float32], studio: _Studio, view: View, rng: random.Random, *, behind: bool
) -> NDArray[np.float32]:
    side, scale = rng.choice((-1.0, 1.0)), rng.uniform(0.6, 0.85) if behind else rng.uniform(1.0, 1.15)
    other = View(
        centre=view.centre + side * rng.uniform(18.0, 34.0),
        ground=view.ground + (-12.0 if behind else 10.0),
        size=view.size * scale,
        pitch=view.pitch,
        light=view.light,
    )
    stranger = studio.strangers[rng.randrange(STRANGERS)]
    return _over(scene, _draw(studio, stranger, _pose(rng.uniform(0.0, 2.0 * math.pi), rng), other, rng))
