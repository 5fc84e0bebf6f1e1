"""Reads the tensors of files that ``torch.save`` wrote, without running anything that stands in them.

Formats: the stream of torch 0.2 to 1.5 (five pickles, then the raw storages) and the zip archive since 1.6; a whole
module or a dictionary of tensors in either.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import CheckpointError
from crosscam.models.safe_pickle import Instance, RefusedError, StoredTensor, load_pickle, show

Array = NDArray[np.generic]

MAX_FILE_BYTES = 4 << 30
# Files wrap their tensors in a dictionary under one of these names; DINO's training keeps a student and a teacher.
WRAPPERS = ("state_dict", "model", "net", "model_state_dict", "teacher")
_MAX_DEPTH = 50
_MAX_NAME = 500
_MAX_ENTRIES = 100_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_tensors(path: Path) -> dict[str, Array]:
    """The named, read-only tensors of a file that ``torch.save`` wrote, without running anything in it.

    It holds a whole pickled module, or a dictionary of tensors, alone or wrapped. CheckpointError: no such file,
    damaged, of another kind, or a pickle that asks to call something.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise RefusedError(f"has {size / 2**30:.1f} GiB; at most {MAX_FILE_BYTES >> 30} GiB are read")
        data = path.read_bytes()
        found = _read_zip(data) if data[:4] == b"PK\x03\x04" else _read_stream(data)
        arrays = {name: _resolve(tensor, storage) for name, (tensor, storage) in found.items()}
        if sum(a.nbytes for a in arrays.values()) > len(data):
            raise RefusedError("holds tensors that share their numbers")
        return arrays
    except RefusedError as reason:
        raise CheckpointError(f"{path} {reason}. Nothing in it was run, and nothing was loaded.") from reason
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}. Give a checkpoint file.") from error


def unwrapped(state: object) -> object:
    """What a file's dictionary holds under the names of :data:`WRAPPERS`, also in one another; else the same."""
    # A file's dictionary that holds itself must not be followed for ever.
    for _ in WRAPPERS:
        inner = [state[w] for w in WRAPPERS if isinstance(state.get(w), dict)] if isinstance(state, dict) else []
        state = inner[0] if inner else state
    return state


def refuse_quantized(found: Mapping[str, Tensor], own: Mapping[str, Tensor], where: object) -> None:
    """Refuse (CheckpointError) whole numbers where a network has fractions: their scales are not in the file."""
    for name, value in found.items():
        if name in own and own[name].is_floating_point() and not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{where} has whole numbers ({kind}) in {name}, expected float32 or float16. Give the weights as they "
                "were before they were quantized."
            )


def _read_stream(data: bytes) -> dict[str, tuple[StoredTensor, Array]]:
    stream = io.BytesIO(data)
    if load_pickle(stream)[0] != _LEGACY_MAGIC or load_pickle(stream)[0] != _LEGACY_PROTOCOL:
        raise RefusedError("is a pickle, but not a file that torch.save wrote")
    system, _ = load_pickle(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedError("was written on a big-endian machine, which is not supported")
    root, mentioned = load_pickle(stream)
    keys, _ = load_pickle(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in mentioned for key in keys):
        raise RefusedError("has no list of its storages after its pickle; it is damaged")
    storages: dict[str, Array] = {}
    position = stream.tell()
    for storage in (mentioned[key] for key in keys):
        start = position + 8
        position = start + storage.numel * storage.dtype.itemsize
        if position > len(data):
            raise RefusedError(f"is cut short: it ends within the numbers of storage {show(storage.key)}")
        if int.from_bytes(data[start - 8 : start], "little") != storage.numel:
            raise RefusedError(f"gives two sizes for storage {show(storage.key)}; it is damaged")
        storages[storage.key] = np.frombuffer(data, storage.dtype, storage.numel, start)
    return _with_storages(_named_tensors(root), storages)


def _read_zip(data: bytes) -> dict[str, tuple[StoredTensor, Array]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            root, pickled = _open_archive(archive, len(data))
            tensors = _named_tensors(load_pickle(io.BytesIO(pickled))[0])
            storages: dict[str, Array] = {}
            for storage in {tensor.storage for tensor in tensors.values()}:
                raw = archive.read(f"{root}data/{storage.key}")
                if len(raw) < storage.numel * storage.dtype.itemsize:
                    raise RefusedError(f"is cut short: storage {show(storage.key)} lacks numbers")
                storages[storage.key] = np.frombuffer(raw, storage.dtype, storage.numel)
    except RefusedError:
        raise
    except Exception as error:  # A damaged archive makes zipfile raise errors of nearly every kind.
        raise RefusedError("is a damaged or incomplete zip archive") from error
    return _with_storages(tensors, storages)


def _open_archive(archive: zipfile.ZipFile, size: int) -> tuple[str, bytes]:
    members = {info.filename: info for info in archive.infolist()}
    if any(i.compress_type != zipfile.ZIP_STORED for i in members.values()):
        raise RefusedError("is a compressed archive, which torch.save does not write")
    if sum(info.file_size for info in members.values()) > size:
        raise RefusedError("is a zip archive whose parts overlap")
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise RefusedError("is a zip archive without the one data.pkl of torch.save")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
        raise RefusedError("was written on a big-endian machine, which is not supported")
    return root, archive.read(pickles[0])


def _with_storages(
    tensors: dict[str, StoredTensor], storages: dict[str, Array]
) -> dict[str, tuple[StoredTensor, Array]]:
    for name, tensor in tensors.items():
        if tensor.storage.key not in storages:
            raise RefusedError(f"lacks the numbers of {show(name)}; it is cut short")
    return {name: (tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _resolve(tensor: StoredTensor, storage: Array) -> Array:
    """A view of the storage; every element it can reach lies inside."""
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if count > storage.size or (count and last >= storage.size) or storage.dtype != tensor.storage.dtype:
        raise RefusedError("holds a tensor that is larger than its numbers; it is damaged")
    if not count:
        return np.empty(tensor.shape, storage.dtype)
    strides = tuple(step * storage.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)


def _named_tensors(root: object) -> dict[str, StoredTensor]:
    inner = unwrapped(root)
    if isinstance(inner, dict) and inner and all(isinstance(v, StoredTensor) for v in inner.values()):
        return {str(key): value for key, value in inner.items()}
    if not (isinstance(root, Instance) and isinstance(root.state, dict) and "_modules" in root.state):
        raise RefusedError("holds neither a module nor named tensors")
    found: dict[str, StoredTensor] = {}
    entries = 0
    pending: list[tuple[str, object, int]] = [("", root, 0)]
    while pending:
        prefix, module, depth = pending.pop()
        if not isinstance(module, Instance) or not isinstance(module.state, dict):
            continue
        values = _entries(module.state, "_parameters") + _entries(module.state, "_buffers")
        children = _entries(module.state, "_modules")
        # Shared objects can make a small file describe a module without end.
        entries += 1 + len(values) + len(children)
        if depth > _MAX_DEPTH or len(prefix) > _MAX_NAME or entries > _MAX_ENTRIES:
            raise RefusedError("holds a module that contains itself, or one without end")
        found.update((prefix + name, value) for name, value in values if isinstance(value, StoredTensor))
        pending += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children)]
    if not found:
        raise RefusedError("holds a module without tensors")
    return found


def _entries(state: dict[object, object], group: str) -> list[tuple[str, object]]:
    entries = state.get(group)
    return [(str(name)[:_MAX_NAME], value) for name, value in entries.items()] if isinstance(entries, dict) else []
