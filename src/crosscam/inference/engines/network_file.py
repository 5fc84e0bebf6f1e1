"""``network.json``: what a network's file from elsewhere takes, beside it, with the digest of the file."""

from __future__ import annotations

import filecmp
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from crosscam.data.network_input import NetworkInput
from crosscam.data.text_files import read_text
from crosscam.errors import ArgumentError, DataError, EngineError
from crosscam.inference.engines.network_runtimes import SUFFIXES
from crosscam.recipes.checkpoint import DECLARATION, RECIPE
from crosscam.system.files import copy_bytes, write_atomically
from crosscam.system.text import did_you_mean, parse_json

# As protocol buffers hold the names of the files beside an ONNX file that keep its weights.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
_OURS = {".onnx": b"crosscam.fingerprint", ".xml": b"<crosscam>"}
# Networks whose input is published, by their files' names: OpenVINO's, Tencent Youtu's in OpenCV's zoo, and NVIDIA's
# ReIdentificationNet, whose first version has a name that other networks have, too (resnet50_market1501).
RETAIL = "person-reidentification-retail-"
FAMILIES = {
    **{f"{RETAIL}{number}": "bgr 256x128 255" for number in ("0277", "0286", "0287")},
    "person_reid_youtu_2021nov": "rgb 256x128 imagenet opencv",
    "resnet50_market1501_aicity156": "rgb 256x128 1 mean=0.485,0.456,0.406 std=0.226",
}


@dataclass(frozen=True)
class Declaration:
    """A network's file and what it takes.

    Attributes:
        file: the network.
        takes: its input.
        digest: SHA-256 of the file and of those beside it that hold its weights.
        output: name of the output that is taken; None for the first that fits.
    """

    file: Path
    takes: NetworkInput
    digest: str
    output: str | None = None

    def fingerprint(self, *, flip: bool) -> str:
        """Sixteen hexadecimal digits that change with the file, the declared input, the output or the mirror pass."""
        return fingerprint_of_parts(self.digest, str(self.takes), self.output or "", flip=flip)


def fingerprint_of_parts(*parts: str, flip: bool) -> str:
    """Sixteen hexadecimal digits that change with each of the texts, or the mirror pass."""
    return hashlib.sha256(json.dumps(["imported", *parts, flip]).encode()).hexdigest()[:16]


def is_network_file(path: Path) -> bool:
    """Whether a path is a network's file by its name."""
    return path.suffix.lower() in SUFFIXES


def is_exported_by_crosscam(path: Path) -> bool:
    """Whether 'crosscam export' wrote a file, so that it says itself what it takes."""
    mark = _OURS.get(path.suffix.lower())
    return mark is not None and path.is_file() and mark in path.read_bytes()


def declare(file: Path, takes: NetworkInput, output: str | None = None) -> Declaration:
    """A declaration of a file as it is now.

    Raises:
        EngineError: no such file.
        ArgumentError: 'crosscam export' wrote it.
    """
    if not file.is_file():
        raise EngineError(f"No file {file}. Give a network's file.")
    if is_exported_by_crosscam(file):
        raise ArgumentError(
            f"{file} was written by 'crosscam export' and says itself what it takes. Leave the input out."
        )
    return Declaration(file, takes, digest_of_files(file), output)


def find_declaration(source: Path) -> Declaration | None:
    """The declaration of a network's file, or of a folder with one; None where there is none.

    Raises:
        EngineError: it is damaged, or of another file than the one that is there.
    """
    folder = source if source.is_dir() else source.parent
    place = folder / DECLARATION
    # A run folder is a run folder, whatever else was put into it.
    if not place.is_file() or (source == folder and (folder / RECIPE).is_file()):
        return None
    found = _read(place)
    if source != folder and found.file.name != source.name:
        return None
    if not found.file.is_file():
        raise EngineError(f"{place} declares {found.file.name}, which is not in {folder}. Copy the file there.")
    now = digest_of_files(found.file)
    if now != found.digest:
        raise EngineError(
            f"{found.file} is not the file that {place} declares (its SHA-256 starts with {now[:8]}, and the declared "
            f"one with {found.digest[:8]}). Copy the right file there, or import it again: 'crosscam import-network'."
        )
    return found


def write_declaration(declared: Declaration, version: str) -> Path:
    """Write ``network.json`` beside the file.

    Args:
        declared: what it says.
        version: of crosscam.
    Returns:
        its path.
    Raises:
        EngineError: the folder has the declaration of another file.
    """
    place = declared.file.parent / DECLARATION
    _refuse_declared(place, declared.file.name)
    value = {"file": declared.file.name, "input": str(declared.takes), "output": declared.output}
    write_atomically(place, json.dumps({**value, "sha256": declared.digest, "crosscam": version}, indent=2) + "\n")
    return place


def copy_network(file: Path, folder: Path) -> Path:
    """Copy a network's file, and those that hold its weights, into a folder; where they are then.

    Raises:
        EngineError: the folder has the declaration of another file, or other files of these names; nothing is copied.
    """
    _refuse_declared(folder / DECLARATION, file.name)
    for source in files_of(file):
        target = folder / source.name
        if target.is_file() and not filecmp.cmp(source, target, shallow=False):
            raise EngineError(
                f"{target} is another file than {source} and would be replaced. Nothing was done; give another folder "
                "with --out."
            )
    for source in files_of(file):
        write_atomically(folder / source.name, partial(copy_bytes, source))
    return folder / file.name


def _refuse_declared(place: Path, name: str) -> None:
    """Refuse (EngineError) a folder whose ``network.json`` declares another file than ``name``."""
    other = _read(place).file.name if place.is_file() else name
    if other != name:
        raise EngineError(f"{place} declares {other}. Give another folder with --out.")


def files_of(file: Path) -> list[Path]:
    """A network's file and those in its folder that hold its weights.

    Raises:
        EngineError: an ONNX file that keeps weights in another folder.
    """
    if file.suffix.lower() == ".xml":
        return [file, *(p for p in [file.with_suffix(".bin")] if p.is_file())]
    if file.suffix.lower() != ".onnx":
        return [file]
    data = file.read_bytes()
    names = {data[m.end() : m.end() + m[1][0]].decode("utf-8", "replace") for m in _EXTERNAL.finditer(data)}
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise EngineError(f"{file} keeps weights in {name!r}. Expected them in the file's own folder.")
    return [file, *(file.parent / name for name in sorted(names) if (file.parent / name).is_file())]


def digest_of_files(file: Path) -> str:
    """SHA-256 of a network's file and of those that hold its weights."""
    digest = hashlib.sha256()
    for path in files_of(file):
        with open(path, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def input_of_family(file: Path, family: str | None, further: Iterable[str] = ()) -> NetworkInput | None:
    """The published input of a known network, by its family or the file's name; None for an unknown file.

    Args:
        file: of the network.
        family: ``"person-reidentification-retail-0277"``, or its end, such as ``"retail-0277"`` or ``"0277"``.
        further: names that the message tells of, too.
    Raises:
        ArgumentError: an unknown family.
    """
    if family is None:
        known = FAMILIES.get(file.stem)
    else:
        known = FAMILIES.get(family) or FAMILIES.get(f"{RETAIL}{family.removeprefix('retail-')}")
        if known is None:
            names = [*FAMILIES, *further]
            raise ArgumentError(f"Unknown family {family!r}. {did_you_mean(family, names)}Known: {', '.join(names)}.")
    return None if known is None else NetworkInput.parse(known)


def _read(place: Path) -> Declaration:
    try:
        value: Any = parse_json(read_text(place))
        name, output = value["file"], value["output"]
        if Path(name).name != name or not is_network_file(Path(name)) or not isinstance(output, str | None):
            raise ArgumentError(f"file {name!r} or output {output!r} is not a valid name")
        return Declaration(place.parent / name, NetworkInput.parse(value["input"]), str(value["sha256"]), output)
    except (DataError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError(
            f"{place} is not a declaration of a network ({error}). Write it again: 'crosscam import-network'."
        ) from error
