"""Teachers of a training: their descriptors of its images, kept beside the run, and the losses that follow them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from crosscam.data.images import decode_image
from crosscam.data.loading import read_ahead
from crosscam.data.network_input import NetworkInput
from crosscam.data.text_files import path_in, read_lines
from crosscam.errors import ArgumentError, EngineError, RecipeError, TrainingError
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.inference.engines.network_file import (
    files_of,
    find_declaration,
    is_exported_by_crosscam,
    is_network_file,
)
from crosscam.inference.engines.network_runtimes import open_file
from crosscam.inference.network_check import check_rows
from crosscam.models.systems import layout_of
from crosscam.recipes.checkpoint import RECIPE, WEIGHTS
from crosscam.recipes.recipe import Distill
from crosscam.shipped import run_folder
from crosscam.system.files import write_atomically
from crosscam.system.progress import Progress
from crosscam.system.text import counted
from crosscam.training.trained_on import Digests, readable_digests

KEPT = "teachers.npz"
_BATCH = 16


def teacher_rows(
    distill: Distill,
    paths: Sequence[Path],
    folder: Path,
    progress: Progress | None = None,
    digests: Digests | None = None,
) -> tuple[Tensor, ...]:
    """(N, T) float16 descriptors of every teacher, each row of length 1.

    They are kept in ``folder`` and taken from there if teachers, input and images are the same, wherever these lie.

    Args:
        distill: which teachers, and their input.
        paths: N images.
        folder: the run folder.
        progress: called with (done, all) over all teachers.
        digests: (N,) of the images' files; None computes them.
    Raises:
        RecipeError: a teacher that cannot be opened, or another input than its own.
        TrainingError: a descriptor that is not finite.
        ImageError: an image that cannot be read.
    """
    key = _key(distill, readable_digests(paths) if digests is None else digests)
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
    write_atomically(kept, partial(_write, found))
    return tuple(torch.from_numpy(found[f"teacher{i}"]) for i in range(len(distill.teachers)))


def _write(found: dict[str, NDArray[Any]], path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **found)


def _unit_rows(rows: NDArray[np.float32], teacher: str, paths: Sequence[Path]) -> NDArray[np.float16]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise TrainingError(
            f"Teacher {teacher} gives no finite descriptor of {paths[bad[0]]} ({len(bad)} of {len(paths)} images). "
            "Look at its file and at distill.input."
        )
    unit: NDArray[np.float16] = (rows / lengths).astype(np.float16)
    return unit


def _described(teacher: str, distill: Distill, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Descriptors of all images, batch by batch."""
    if is_network_file(Path(teacher)):
        if is_exported_by_crosscam(Path(teacher)):
            raise RecipeError(
                f"distill.teachers: {teacher} was written by 'crosscam export' and takes what only crosscam gives it. "
                "Give the run folder that it was made from."
            )
        takes, declared = _input_of(distill), find_declaration(Path(teacher))
        if declared is not None and declared.takes != takes:
            raise RecipeError(
                f"distill.input is '{takes}', but network.json says that {teacher} takes '{declared.takes}'. "
                f"Set distill.input='{declared.takes}', or declare the file anew by 'crosscam import-network'."
            )
        yield from _by_file(Path(teacher), takes, paths)
        return
    from crosscam.inference.extractor import Extractor

    engine = "torch" if find_declaration(Path(teacher)) is None else "auto"
    # Without the mirror pass, as files are run: each image is seen once, as it is.
    extractor = Extractor.load(teacher, flip=False, engine=engine)
    for start in range(0, len(paths), _BATCH):
        yield extractor(list(paths[start : start + _BATCH]))


def _by_file(teacher: Path, takes: NetworkInput, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    try:
        network = ImportedNetwork(open_file(teacher, takes), takes, str(teacher))
        check_rows(network)
    except EngineError as error:
        raise RecipeError(f"distill.teachers: {error} Look at distill.teachers and distill.input.") from error

    def prepared(path: Path) -> Tensor:
        return takes.sized(torch.from_numpy(decode_image(path)).unsqueeze(0))

    for planes in map(torch.cat, read_ahead(paths, prepared, _BATCH)):
        yield network(planes).descriptor.numpy()


def _input_of(distill: Distill) -> NetworkInput:
    try:
        return NetworkInput.parse(distill.input)
    except ArgumentError as error:
        raise RecipeError(f"distill.input: {error}") from error


def _files(teacher: str) -> list[Path]:
    """What tells one teacher from another; for a folder with a declared network, that is its declaration."""
    at = Path(teacher)
    if is_network_file(at) and at.is_file():
        return files_of(at)
    return [run_folder(at) / WEIGHTS, run_folder(at) / RECIPE]


def are_there(distill: Distill) -> bool:
    """Whether all teachers are where they were."""
    return all(run_folder(Path(teacher)).exists() for teacher in distill.teachers)


def teachers_digest(distill: Distill) -> hashlib._Hash:
    """What the teachers' descriptors of an image depend on: their files and their input."""
    digest = hashlib.sha256(json.dumps([distill.teachers, distill.input]).encode())
    for teacher in distill.teachers:
        at, files = Path(teacher), _files(teacher)
        declared = None if is_network_file(at) else find_declaration(at)
        if declared is not None:
            digest.update(f"{declared.takes}\0{declared.digest}".encode())
        for file in files:
            if file.is_file():
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest


def _key(distill: Distill, digests: Digests) -> str:
    """What the descriptors depend on: the teachers, and what is in the images."""
    digest = teachers_digest(distill)
    digest.update(digests.astype("<u8").tobytes())
    return digest.hexdigest()


def unlabeled_paths(distill: Distill) -> list[Path]:
    """The images that ``distill.unlabeled`` lists.

    Raises:
        RecipeError: no such file, an empty one, or an image that is not there.
    """
    if distill.unlabeled is None:
        return []
    listing = Path(distill.unlabeled)
    if not listing.is_file():
        raise RecipeError(f"distill.unlabeled: no file {listing}. Expected a text file, one image a line.")
    paths = [path_in(listing.parent, line) for _, line in read_lines(listing)]
    if not paths:
        raise RecipeError(f"distill.unlabeled: {listing} lists no images.")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise RecipeError(
            f"distill.unlabeled: {len(missing):,} of {counted(len(paths), 'image')} missing. First: {missing[0]}."
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
    the network and is not part of it.

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
