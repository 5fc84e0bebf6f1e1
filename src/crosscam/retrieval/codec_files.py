"""Codecs on disk: one safetensors file, so that codes that were kept can be searched tomorrow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crosscam.errors import ArgumentError, DataError
from crosscam.retrieval.compression import Codec, Half, Int8, Principal
from crosscam.retrieval.product_quantiser import ProductQuantiser
from crosscam.system.files import write_atomically
from crosscam.system.json_text import parse_json

KEY = "crosscam.codec"
KINDS: dict[str, type[Any]] = {"half": Half, "int8": Int8, "principal": Principal, "product": ProductQuantiser}


def save_codec(codec: Codec, path: Path) -> None:
    """Write a codec; principal components together with the codec that follows them.

    Args:
        codec: any of this package.
        path: the file, conventionally ``.safetensors``; it is replaced as a whole.
    Raises:
        ValueError: a codec of another package.
        StorageError: the file cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    plan = json.dumps(_planned(codec, "", tensors))

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata={KEY: plan})
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomically(path, write)


def load_codec(path: Path) -> Codec:
    """The codec of a file that :func:`save_codec` wrote.

    Raises:
        DataError: no such file, or it is damaged or no codec's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            plan = parse_json((file.metadata() or {})[KEY])
            return _made(plan, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError as error:
        raise DataError(f"No file {path}. Expected a codec written by save_codec.") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} holds no codec ({type(error).__name__}): it is damaged, or another kind of file. "
            "Fit the codec again and save it by save_codec."
        ) from error


def _planned(codec: Any, prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The codec's kind and plain values; its arrays are added to ``tensors``."""
    kind = next((name for name, known in KINDS.items() if type(codec) is known), None)
    if kind is None:
        raise ArgumentError(f"{type(codec).__name__} is no codec of crosscam. Known: {', '.join(KINDS)}.")
    plan: dict[str, Any] = {"kind": kind}
    for field in fields(codec):
        value = getattr(codec, field.name)
        if isinstance(value, np.ndarray):
            tensors[prefix + field.name] = np.ascontiguousarray(value)
        elif isinstance(value, int):
            plan[field.name] = value
        else:
            plan[field.name] = _planned(value, f"{prefix}{field.name}.", tensors)
    return plan


def _made(plan: Mapping[str, Any], tensors: Mapping[str, np.ndarray], prefix: str = "") -> Codec:
    """The codec of a plan."""
    kind = KINDS[plan["kind"]]
    values: dict[str, Any] = {}
    for field in fields(kind):
        told = plan.get(field.name)
        if isinstance(told, Mapping):
            values[field.name] = _made(told, tensors, f"{prefix}{field.name}.")
        else:
            values[field.name] = tensors[prefix + field.name] if told is None else told
    made: Codec = kind(**values)
    return made
