"""Teachers of a training: their descriptors of its pictures, kept beside the run, and the losses that follow them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from crosscam.data.augment import normalise
from crosscam.data.images import decode_image
from crosscam.data.loading import Progress, read_ahead
from crosscam.data.resizing import resize_bytes
from crosscam.data.text_files import path_in, read_lines
from crosscam.errors import EngineError, RecipeError, TrainingError
from crosscam.inference.engines.base import num_threads
from crosscam.inference.engines.openvino_engine import openvino_core
from crosscam.models.systems import layout_of
from crosscam.recipes.recipe import Distill
from crosscam.system.files import stamp_of, write_atomically

KEPT = "teachers.npz"
_BATCH = 16
_SCALES = ("255", "1", "imagenet")
_SUFFIXES = (".onnx", ".xml")
Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class TeacherInput:
    """What a teacher's file takes: colour order, size in pixels, and scale."""

    order: str
    height: int
    width: int
    scale: str

    @classmethod
    def parse(cls, text: str) -> TeacherInput:
        """From, for example, ``"bgr 256x128 255"``.

        Raises:
            RecipeError: not of that form.
        """
        words = text.lower().split()
        if len(words) == 3 and words[0] in ("rgb", "bgr") and words[2] in _SCALES:
            height, _, width = words[1].partition("x")
            if height.isdecimal() and width.isdecimal() and 0 < int(height) <= 4096 and 0 < int(width) <= 4096:
                return cls(words[0], int(height), int(width), words[2])
        raise RecipeError(
            f"distill.input={text!r}: expected colour order, height x width and scale, for example 'bgr 256x128 255' "
            f"or 'rgb 256x128 imagenet'; scales: {', '.join(_SCALES)}."
        )

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB -> (B, 3, height, width) float32 as the teacher takes it."""
        pixels = resize_bytes(images, self.height, self.width).permute(0, 3, 1, 2)
        found = normalise(pixels) if self.scale == "imagenet" else pixels.float() / (1 if self.scale == "255" else 255)
        found = found.flip(1) if self.order == "bgr" else found
        return np.ascontiguousarray(found.numpy())


def teacher_rows(
    distill: Distill, paths: Sequence[Path], folder: Path, progress: Progress | None = None
) -> tuple[Tensor, ...]:
    """(N, T) float16 descriptors of every teacher, each row of length 1.

    They are kept in ``folder`` and taken from there if teachers, input and pictures are the same.

    Args:
        distill: which teachers, and their input.
        paths: N pictures.
        folder: the run folder.
        progress: called with (done, all) over all teachers.
    Raises:
        RecipeError: a teacher that cannot be opened, or another input than its own.
        TrainingError: a descriptor that is not finite.
        ImageError: a picture that cannot be read.
    """
    key = _key(distill, paths)
    kept = folder / KEPT
    if kept.is_file():
        # What is damaged is made again; the archive checks its own bytes.
        with suppress(Exception), np.load(kept, allow_pickle=False) as file:
            if str(file["key"]) == key:
                return tuple(torch.from_numpy(file[f"teacher{i}"]) for i in range(len(distill.teachers)))
    found: dict[str, NDArray[Any]] = {"key": np.array(key)}
    total = len(paths) * len(distill.teachers)
    for number, teacher in enumerate(distill.teachers):
        rows = []
        for batch in _described(teacher, distill, paths):
            rows.append(batch)
            if progress:
                progress(number * len(paths) + sum(map(len, rows)), total)
        found[f"teacher{number}"] = _unit_rows(np.concatenate(rows), teacher, paths)

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **found)

    write_atomically(kept, write)
    return tuple(torch.from_numpy(found[f"teacher{i}"]) for i in range(len(distill.teachers)))


def _unit_rows(rows: NDArray[np.float32], teacher: str, paths: Sequence[Path]) -> NDArray[np.float16]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise TrainingError(
            f"Teacher {teacher} gives no finite descriptor of {paths[bad[0]]} ({len(bad)} of {len(paths)} pictures). "
            "Look at its file and at distill.input."
        )
    unit: NDArray[np.float16] = (rows / lengths).astype(np.float16)
    return unit


def _described(teacher: str, distill: Distill, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Descriptors of all pictures, batch by batch."""
    if Path(teacher).suffix.lower() in _SUFFIXES:
        yield from _by_file(Path(teacher), TeacherInput.parse(distill.input), paths)
        return
    from crosscam.inference.extractor import Extractor

    extractor = Extractor.load(teacher, engine="torch")
    for start in range(0, len(paths), _BATCH):
        yield extractor(list(paths[start : start + _BATCH]))


def _by_file(teacher: Path, takes: TeacherInput, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    network = _compiled(teacher, takes)

    def prepared(path: Path) -> NDArray[np.float32]:
        return takes(torch.from_numpy(decode_image(path)).unsqueeze(0))

    for images in map(np.concatenate, read_ahead(paths, prepared, _BATCH)):
        # The network takes whole batches; the last one is filled up.
        filled = np.concatenate([images, np.zeros((_BATCH - len(images), *images.shape[1:]), np.float32)])
        yield np.asarray(network(filled)[0], np.float32).reshape(_BATCH, -1)[: len(images)]


def _compiled(teacher: Path, takes: TeacherInput) -> Any:
    try:
        core = openvino_core()
    except EngineError as error:
        raise RecipeError(f"distill.teachers: {error}") from error
    if not teacher.is_file():
        raise RecipeError(f"distill.teachers: no file {teacher}. Give an .onnx or .xml file, or a run folder.")
    try:
        model = core.read_model(teacher)
        model.reshape([_BATCH, 3, takes.height, takes.width])
        return core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": num_threads()})
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RecipeError(
            f"distill.teachers: {teacher} does not take {takes.height} x {takes.width} images of three channels "
            f"({reason}). Look at distill.input."
        ) from error


def _key(distill: Distill, paths: Sequence[Path]) -> str:
    """What the descriptors depend on: the teachers' files, their input, and the pictures with size and time."""
    digest = hashlib.sha256(json.dumps([distill.teachers, distill.input]).encode())
    for teacher in distill.teachers:
        at = Path(teacher)
        files = [at, at.with_suffix(".bin")] if at.suffix.lower() in _SUFFIXES else [at / "weights.safetensors"]
        for file in files:
            if file.is_file():
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    for path in paths:
        digest.update(f"{path}\0{stamp_of(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def unlabeled_paths(distill: Distill) -> list[Path]:
    """The pictures that ``distill.unlabelled`` lists.

    Raises:
        RecipeError: no such file, an empty one, or a picture that is not there.
    """
    if distill.unlabelled is None:
        return []
    listing = Path(distill.unlabelled)
    if not listing.is_file():
        raise RecipeError(f"distill.unlabelled: no file {listing}. Expected a text file, one picture a line.")
    paths = [path_in(listing.parent, line) for _, line in read_lines(listing)]
    if not paths:
        raise RecipeError(f"distill.unlabelled: {listing} lists no pictures.")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise RecipeError(
            f"distill.unlabelled: {len(missing)} of {len(paths)} pictures are not there. First: {missing[0]}."
        )
    return paths


def similarity_loss(descriptor: Tensor, rows: Tensor) -> Tensor:
    """Mean squared difference of all pairwise cosine similarities of a batch.

    Source: Tung & Mori, "Similarity-preserving knowledge distillation", ICCV 2019, and Park et al., "Relational
    knowledge distillation", CVPR 2019: what is taught is how images lie to each other, so D and T may differ. Neither
    takes cosines, as here, where a descriptor is compared after scaling it to length 1. An image's similarity to itself
    does not count.

    Args:
        descriptor: (B, D) of the network, B at least 2.
        rows: (B, T) of the teacher.
    """
    own, taught = normalize(descriptor.float(), dim=1), normalize(rows.float(), dim=1)
    others = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
    return mse_loss((own @ own.T)[others], (taught @ taught.T)[others])


class Distiller(nn.Module):
    """The losses of a training's teachers, with a linear map from the descriptor to each teacher's.

    Source of the map: Romero et al., "FitNets", ICLR 2015 (a regressor to the teacher's features). It is trained with
    the network and is no part of it.

    Args:
        dim: D, length of the network's descriptor.
        teacher_dims: T of each teacher.
        similarity, mapping: weights of the two losses.
    """

    def __init__(self, dim: int, teacher_dims: Sequence[int], *, similarity: float, mapping: float) -> None:
        super().__init__()
        self.similarity, self.mapping = similarity, mapping
        self.maps = nn.ModuleList(nn.Linear(dim, t, bias=False) for t in (teacher_dims if mapping else ()))

    def forward(self, descriptor: Tensor, taught: Sequence[Tensor]) -> Tensor:
        """Mean over the teachers of both weighted losses.

        Args:
            descriptor: (B, D) of the network.
            taught: (B, T) of each teacher.
        """
        total = descriptor.new_zeros(())
        for rows in taught:
            if self.similarity:
                total = total + self.similarity * similarity_loss(descriptor, rows)
        own = normalize(descriptor.float(), dim=1)
        for mapped, rows in zip(self.maps, taught, strict=False):
            cosine = (normalize(mapped(own), dim=1) * normalize(rows.float(), dim=1)).sum(dim=1)
            total = total + self.mapping * (1 - cosine).mean()
        return total / len(taught)


def build_distiller(distill: Distill, model: nn.Module, teacher_dims: Sequence[int]) -> Distiller:
    """The losses of a training's teachers, for a network as it describes in training.

    Args:
        distill: their weights.
        model: the network.
        teacher_dims: T of each teacher.
    """
    projection = getattr(model, "projection", None)
    dim = layout_of(model)[-1].stop if projection is None else projection.linear.weight[..., 0].numel()
    return Distiller(dim, teacher_dims, similarity=distill.similarity, mapping=distill.mapping)
