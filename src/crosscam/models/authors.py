"""The authors' checkpoints of RRID: their names, their files.

Their files are whole pickled modules of torch 0.4.1. They are read without running anything in them. A unit of
theirs is one 1x1 convolution and one batch normalization per part; ours holds the parts of one kind in one tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import ArgumentError, CheckpointError
from crosscam.models.backbones.resnet import Four, ResNet, ResNetShape
from crosscam.models.rrid import RRID, RRIDModel
from crosscam.models.safe_pickle import show
from crosscam.models.torch_files import read_tensors, refuse_quantized
from crosscam.system.text import counted

AUTHORS_SCALES = (6, 4, 2)
_MAX_SIZE = 1_000_000
Array = NDArray[np.generic]
Value = TypeVar("Value")


@dataclass(frozen=True)
class AuthorsModel:
    """A network that was rebuilt from an authors' checkpoint, in evaluation mode, and what it is made of.

    ``scales`` are the stripes of each branch in the descriptor's order, ``num_ids`` is 0 without classifiers.
    """

    model: RRID
    backbone: str
    scales: tuple[int, ...]
    dim: int
    num_ids: int


@dataclass(frozen=True)
class _Source:
    """Where one of our tensors comes from: their names by part, their shape, and how to join them."""

    keys: tuple[str, ...]
    shape: tuple[int, ...]
    join: Callable[[list[Tensor]], Tensor]


def read_authors_checkpoint(path: Path) -> dict[str, Array]:
    """The authors' names, without ``module.``, and read-only arrays in a file, without running anything in it.

    The file holds a whole pickled module, as the authors save it, or a plain state dictionary. CheckpointError: no such
    file, damaged, or a pickle that asks to call something.
    """
    return _without_prefix(read_tensors(path))


def load_authors_state(model: RRID, state: Mapping[str, Array | Tensor]) -> None:
    """Fill a model with an authors' checkpoint, in place.

    The model may have fewer scales than the checkpoint, and fewer classifiers or none; all else must fit.

    Args:
        model: RRID with one-vs.-rest relation and global contrastive pooling.
        state: the authors' names (``differences.md``), with or without ``module.``, to arrays.
    Raises:
        CheckpointError: names that are missing or unknown, or shapes that differ; the model is left as it was.
        ValueError: a model of another structure.
    """
    try:
        _load(model, _without_prefix(state), assign=False)
    except CheckpointError as error:
        raise CheckpointError(
            f"The authors' state does not fit the model: {error}. "
            "Build the model with the state's backbone, scales, dim and num_ids (or num_ids=0)."
        ) from error


def import_authors(path: Path) -> AuthorsModel:
    """The network that an authors' checkpoint describes, all sizes from its shapes; CheckpointError if it is none."""
    state = read_authors_checkpoint(path)
    try:
        shape = _backbone_shape(state)
        scales = tuple(n for n in AUTHORS_SCALES if f"local_{n}_conv_list.0.0.weight" in state)
        if not scales:
            raise CheckpointError("no part units (first expected: 'local_6_conv_list.0.0.weight')")
        dim = _sizes(state, f"local_{scales[0]}_conv_list.0.0.weight", 4)[0]
        classifier = f"fc_local_rest_{scales[0]}_list.0.weight"
        num_ids = _sizes(state, classifier, 2)[0] if classifier in state else 0
        # Without memory until the shapes are known to fit the file: a crafted one cannot ask for more than it holds.
        with torch.device("meta"):
            model = RRID(ResNet(shape), num_ids, RRIDModel(scales=scales, dim=dim))
        _load(model, state, assign=True)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of the authors' RRID: {error}. Give a file that their training saved."
        ) from error
    return AuthorsModel(model.eval(), shape.name, scales, dim, num_ids)


def authors_names(model: RRID) -> dict[str, tuple[int, ...]]:
    """The authors' names of a model's parameters and running statistics, and their shapes there."""
    return {key: source.shape for source in _sources(model).values() for key in source.keys}


def _load(model: RRID, state: Mapping[str, Array | Tensor], *, assign: bool) -> None:
    sources = _sources(model)
    wanted = authors_names(model)
    known = set(wanted) | set(_head_names(model.scales)) | set(_head_names(AUTHORS_SCALES))
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in known]
    arrays = {key: _tensor(state[key]) for key in wanted if key in state}
    wrong = [key for key, array in arrays.items() if tuple(array.shape) != wanted[key]]
    if missing or unknown or wrong:
        if missing:
            first = f"{show(missing[0])} is missing"
        elif unknown:
            first = f"{show(unknown[0])} is unknown"
        else:
            first = f"{show(wrong[0])} is {tuple(arrays[wrong[0]].shape)}, expected {wanted[wrong[0]]}"
        counts = f"{counted(len(missing), 'name')} missing, {len(unknown)} unknown, {len(wrong)} of another shape"
        raise CheckpointError(f"{counts} (first: {first})")
    own = model.state_dict()
    filled = {}
    for name, source in sources.items():
        parts = [arrays.get(key, torch.zeros(source.shape)) for key in source.keys]
        refuse_quantized(dict(zip(source.keys, parts, strict=True)), dict.fromkeys(source.keys, own[name]), "it")
        # A copy, so that the file's read-only bytes are let go.
        filled[name] = source.join(parts).to(dtype=own[name].dtype, copy=True).contiguous()
    model.load_state_dict(filled, assign=assign)


def _sources(model: RRID) -> dict[str, _Source]:
    """For each tensor of the model's state: where it stands in the authors' state."""
    sources = {
        f"backbone.{name}": _Source((f"base.{name}",), tuple(tensor.shape), lambda tensors: tensors[0])
        for name, tensor in model.backbone.state_dict().items()
    }
    for k, (num_parts, branch) in enumerate(zip(model.scales, model.branches, strict=True)):
        units, local_classifiers, global_classifiers = _branch_names(num_parts)
        own = branch.state_dict()
        if {name.split(".linear")[0] for name in own if ".linear.weight" in name} != set(units):
            raise ArgumentError(
                "The authors' checkpoints hold one-vs.-rest relations and global contrastive pooling. "
                "Build the model with relation='one_vs_rest' and global_pooling='gcp'."
            )
        for unit, names in units.items():
            sources |= {f"branches.{k}.{key}": source for key, source in _unit_sources(unit, names, own)}
        for group, lists in (("local", local_classifiers), ("global", global_classifiers)):
            for g, names in enumerate(lists):
                prefix = f"{group}_classifiers.{g}"
                if f"{prefix}.weight" in own:
                    found = _linear_sources(prefix, names, own, ())
                    sources |= {f"branches.{k}.{key}": source for key, source in found}
    return sources


def _branch_names(num_parts: int) -> tuple[dict[str, list[str]], list[list[str]], list[list[str]]]:
    """Of one scale: our units, and our lists of classifiers (q, p, r), with the authors' names of their parts."""
    n = num_parts

    def parts(pattern: str) -> list[str]:
        return [f"{pattern}.{i}" for i in range(n)]

    units = {
        "local.part": parts(f"local_{n}_conv_list"),
        "local.rest": parts(f"rest_{n}_conv_list"),
        "local.residual": parts(f"relation_{n}_conv_list"),
        "globe.project": [f"global_{n}_max_conv_list.0", f"global_{n}_rest_conv_list.0"],
        "globe.residual": [f"global_{n}_pooling_conv_list.0"],
    }
    local_classifiers = [parts(f"fc_local_rest_{n}_list"), parts(f"fc_local_{n}_list"), parts(f"fc_rest_{n}_list")]
    global_classifiers = [[f"fc_global_{n}_list.0"], [f"fc_global_max_{n}_list.0"], [f"fc_global_rest_{n}_list.0"]]
    return units, local_classifiers, global_classifiers


def _unit_sources(unit: str, names: list[str], own: Mapping[str, Tensor]) -> Iterable[tuple[str, _Source]]:
    """Of one of our units: a convolution ``.0`` and a batch normalization ``.1`` for each part."""
    yield from _linear_sources(f"{unit}.linear", [f"{name}.0" for name in names], own, (1, 1))
    dim = own[f"{unit}.linear.bias"].shape[1]
    for statistic in ("weight", "bias", "running_mean", "running_var"):
        yield f"{unit}.norm.{statistic}", _Source(tuple(f"{name}.1.{statistic}" for name in names), (dim,), torch.cat)
    counters = tuple(f"{name}.1.num_batches_tracked" for name in names)
    yield f"{unit}.norm.num_batches_tracked", _Source(counters, (), lambda tensors: torch.stack(tensors).max())


def _linear_sources(
    ours: str, names: list[str], own: Mapping[str, Tensor], kernel: tuple[int, ...]
) -> Iterable[tuple[str, _Source]]:
    """Of P linear layers: (out, in) matrices of theirs, with a 1x1 kernel or none, are (P, in, out) of ours."""
    _, inputs, outputs = own[f"{ours}.weight"].shape
    yield f"{ours}.weight", _Source(tuple(f"{n}.weight" for n in names), (outputs, inputs, *kernel), _transposed)
    yield f"{ours}.bias", _Source(tuple(f"{n}.bias" for n in names), (outputs,), torch.stack)


def _transposed(tensors: list[Tensor]) -> Tensor:
    return torch.stack([t.flatten(1).t() for t in tensors])


def _head_names(scales: tuple[int, ...]) -> Iterable[str]:
    """Every name the authors' heads of these scales can have."""
    for n in scales:
        units, *classifiers = _branch_names(n)
        for name in (name for names in units.values() for name in names):
            yield from (f"{name}.0.{kind}" for kind in ("weight", "bias"))
            statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            yield from (f"{name}.1.{kind}" for kind in statistics)
        for name in (name for lists in classifiers for names in lists for name in names):
            yield from (f"{name}.{kind}" for kind in ("weight", "bias"))


def _without_prefix(state: Mapping[str, Value]) -> dict[str, Value]:
    """The names without the ``module.`` of DataParallel, where all have it."""
    wrapped = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module.") if wrapped else key: value for key, value in state.items()}


def _tensor(value: Array | Tensor) -> Tensor:
    return value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _sizes(state: Mapping[str, Array], key: str, dims: int) -> tuple[int, ...]:
    """The shape of an array from which the network's sizes are read."""
    if key not in state:
        raise CheckpointError(f"{show(key)} is missing")
    shape = state[key].shape
    if len(shape) != dims or not 0 < min(shape) <= max(shape) <= _MAX_SIZE:
        raise CheckpointError(f"{show(key)} is {shape}, expected {dims} sizes from 1 to {_MAX_SIZE:,}")
    return shape


def _backbone_shape(state: Mapping[str, Array]) -> ResNetShape:
    """The sizes of the ResNet under ``base.``."""
    bottleneck = "base.layer1.0.conv3.weight" in state
    last = "conv3" if bottleneck else "conv2"
    found = [re.match(r"base\.layer([1-4])\.(\d+)\.conv1\.weight$", key) for key in state]
    blocks = [match.group(1) for match in found if match]

    def each(size: Callable[[int], int]) -> Four:
        return size(1), size(2), size(3), size(4)

    return ResNetShape(
        "bottleneck" if bottleneck else "basic",
        depths=each(lambda stage: blocks.count(str(stage))),
        stem=_sizes(state, "base.conv1.weight", 4)[0],
        planes=each(lambda stage: _sizes(state, f"base.layer{stage}.0.conv1.weight", 4)[0]),
        out=each(lambda stage: _sizes(state, f"base.layer{stage}.0.{last}.weight", 4)[0]),
    )
