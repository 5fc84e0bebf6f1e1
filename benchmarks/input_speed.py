"""Images a second that one core makes of JPEG files: crosscam's input against torchvision's usual chain.

    python benchmarks/input_speed.py [--torchvision FOLDER] [--images 128] [--rounds 15]

From files to a normalized float batch at 384 x 128. The usual chain is Image.open, Resize, ToTensor, Normalize and
stacking, one image after another, as a worker of a DataLoader runs it. Without torchvision (which crosscam does not
need) the same calls of Pillow and torch stand in its place; to have it timed itself:

    pip install --no-deps --target FOLDER torchvision

All take turns with one thread on the same files of drawn people, and ratios are taken turn by turn. The usual chain
runs in a process of its own, so that nothing crosscam sets up helps it or hinders it. Writes
``benchmarks/results/input_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from crosscam.data import jpeg
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.loading import ImageFiles, ImagesInMemory
from crosscam.data.resizing import IMAGENET_MEAN, IMAGENET_STD, prepare
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.system.cores import keep_freed_memory

RESULT = Path(__file__).parent / "results" / "input_speed.json"
HEIGHT, WIDTH = 384, 128
# Market-1501's, its double, and a person in a frame of high resolution.
SIZES = ((128, 64), (256, 128), (400, 200))
BATCH = 32
TARGET = 5
Chain = Callable[[Sequence[Path]], Tensor]


def pillow_chain(paths: Sequence[Path]) -> Tensor:
    """What torchvision's Resize, ToTensor and Normalize call, without torchvision."""
    images = []
    for path in paths:
        image = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        tensor = torch.from_numpy(np.array(image, np.uint8, copy=True)).permute(2, 0, 1).contiguous()
        tensor = tensor.to(torch.float32).div(255).clone()
        mean, std = torch.as_tensor(IMAGENET_MEAN), torch.as_tensor(IMAGENET_STD)
        images.append(tensor.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1)))
    return torch.stack(images)


def torchvision_chain(folder: Path | None) -> tuple[Chain, str]:
    """The usual chain, and what it is made of."""
    if folder:
        sys.path.append(str(folder))
        # Beside a torch of another build, torchvision's compiled operators are missing; transforms need none.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        import torchvision
        from torchvision import transforms
    except ImportError:
        return pillow_chain, "the same calls of Pillow and torch"
    one = transforms.Compose(
        [transforms.Resize((HEIGHT, WIDTH)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )
    name = f"torchvision {torchvision.__version__}"
    return lambda paths: torch.stack([one(Image.open(path).convert("RGB")) for path in paths]), name


def write_files(folder: Path, people: Sequence[Path], height: int, width: int) -> list[Path]:
    """The drawn people at another size, with the noise of a camera, as JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number, source in enumerate(people):
        larger = Image.open(source).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(larger) + rng.normal(0, 4, (height, width, 3))
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def in_batches(chain: Chain, paths: Sequence[Path]) -> float:
    """Seconds for all files."""
    began = time.perf_counter()
    for start in range(0, len(paths), BATCH):
        chain(paths[start : start + BATCH])
    return time.perf_counter() - began


def serve_usual_chain(end: Connection, folder: Path | None) -> None:
    """In a process of its own: first its name, then the seconds that each list of files takes."""
    torch.set_num_threads(1)
    chain, name = torchvision_chain(folder)
    end.send(name)
    while paths := end.recv():
        end.send(in_batches(chain, paths))


@contextmanager
def usual_chain(folder: Path | None) -> Iterator[tuple[str, Callable[[Sequence[Path]], float]]]:
    """The name of the usual chain, and what asks that process for a timing."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_usual_chain, args=(there, folder))
    process.start()

    def once(paths: Sequence[Path]) -> float:
        here.send(list(paths))
        found: float = here.recv()
        return found

    try:
        yield here.recv(), once
    finally:
        here.send([])
        process.join()


def crosscam_chain(paths: Sequence[Path]) -> Tensor:
    """Files as they are, then the whole batch at once."""
    files = ImageFiles(paths, HEIGHT, WIDTH)
    return prepare(files.read(range(len(paths))), HEIGHT, WIDTH)


def without_simplejpeg(paths: Sequence[Path]) -> Tensor:
    """The same where the extra is not installed."""
    with mock.patch.object(jpeg, "_decoder", return_value=None):
        return crosscam_chain(paths)


def from_memory(paths: Sequence[Path], size: tuple[int, int]) -> Chain:
    """Every epoch but the first, where the dataset fits into memory."""
    images = ImagesInMemory(ImageFiles(paths, *size))
    place = {path: number for number, path in enumerate(paths)}

    def chain(some: Sequence[Path]) -> Tensor:
        order = np.array([place[path] for path in some])
        return prepare(next(images.batches([order])), HEIGHT, WIDTH)

    return chain


def measure(
    usual: Callable[[Sequence[Path]], float], paths: Sequence[Path], size: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """One row: images a second of each way, and ratios to the usual chain."""
    kept = size if size[0] <= HEIGHT and size[1] <= WIDTH else (HEIGHT, WIDTH)
    timers = {
        "torchvision": usual,
        "crosscam": partial(in_batches, crosscam_chain),
        "crosscam_without_simplejpeg": partial(in_batches, without_simplejpeg),
        "crosscam_from_memory": partial(in_batches, from_memory(paths, kept)),
    }
    some = paths[:BATCH]
    levels = (pillow_chain(some) - crosscam_chain(some)) * torch.tensor(IMAGENET_STD).mul(255).view(3, 1, 1)
    times: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(rounds + 1):
        for name, timer in timers.items():
            seconds = timer(paths)
            if number:
                times[name].append(seconds)
    ratios = {
        name: [usual_seconds / seconds for usual_seconds, seconds in zip(times["torchvision"], found, strict=True)]
        for name, found in times.items()
    }
    return {
        "file_size": f"{size[0]} x {size[1]}",
        "bytes": round(statistics.mean(path.stat().st_size for path in paths)),
        "images_per_second": {name: round(len(paths) / statistics.median(t)) for name, t in times.items()},
        "ratio": {name: round(statistics.median(r), 2) for name, r in ratios.items()},
        "ratio_least": round(min(ratios["crosscam"]), 2),
        "ratio_most": round(max(ratios["crosscam"]), 2),
        "largest_difference_in_levels": round(float(levels.abs().max()), 3),
        "share_of_other_levels": float((levels.abs() > 0.5).float().mean()),
    }


def versions() -> dict[str, str]:
    """Of what decodes and resizes."""
    found = {"torch": torch.__version__, "pillow": PIL.__version__, "numpy": np.__version__}
    try:
        found["simplejpeg"] = version("simplejpeg")
    except PackageNotFoundError:
        found["simplejpeg"] = "not installed"
    return found


def commit() -> str:
    """Of the code that was timed."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def main() -> None:
    """Draw, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchvision", type=Path, metavar="FOLDER", help="where torchvision was installed to")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    with tempfile.TemporaryDirectory() as temporary, usual_chain(options.torchvision) as (name, usual):
        root = Path(temporary)
        render_dataset(root / "people", ids=24, cameras=3, images=2, collide=0.25, seed=0, processes=1)
        dataset = read_dataset(root / "people")
        people = [s.path for s in (*dataset.train, *dataset.gallery)]
        people = [people[i % len(people)] for i in range(options.images)]
        print(f"Images a second of one core, {HEIGHT} x {WIDTH}; the usual chain: {name}")
        print(f"{'file':>10}{'usual':>9}{'crosscam':>10}{'ratio':>7}{'by Pillow':>11}{'ratio':>7}{'in memory':>11}")
        for size in SIZES:
            row = measure(usual, write_files(root / f"{size[0]}", people, *size), size, options.rounds)
            rows.append(row)
            speed, ratio = row["images_per_second"], row["ratio"]
            pillow = "crosscam_without_simplejpeg"
            print(
                f"{row['file_size']:>10}{speed['torchvision']:9}{speed['crosscam']:10}{ratio['crosscam']:7.1f}"
                f"{speed[pillow]:11}{ratio[pillow]:7.1f}{speed['crosscam_from_memory']:11}"
            )
    result = {
        "usual_chain": name,
        "size": [HEIGHT, WIDTH],
        "batch": BATCH,
        "threads": 1,
        "target": TARGET,
        "rows": rows,
        "machine": platform.machine(),
        "versions": versions(),
        "commit": commit(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
