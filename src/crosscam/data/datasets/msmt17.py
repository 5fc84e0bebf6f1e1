"""MSMT17, version 1 (``train``, ``test``) and version 2 with blurred faces (``mask_train_v2``, ``mask_test_v2``).

The four lists hold lines such as ``0000/0000_000_01_0303morning_0008_0.jpg 0``: the image, whose third field
is the camera, and the identity, which is counted from 0 in training and again in the test.
"""

from __future__ import annotations

from pathlib import Path

from crosscam.data.records import ReidDataset, Sample
from crosscam.data.text_files import read_lines
from crosscam.data.walk import has, path_key
from crosscam.errors import ArgumentError, DataError

_FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
PROTOCOLS = ("train+val", "train")
_TEST_LISTS = ("list_query.txt", "list_gallery.txt")


is_msmt17 = has("list_train.txt", "list_query.txt")


def read_msmt17(root: Path, *, protocol: str = "train+val") -> ReidDataset:
    """Read MSMT17 by its lists.

    Identities are numbered from 1, and those of the test after those of training, since both lists begin at 0.

    Args:
        root: the folder of the lists.
        protocol: ``"train+val"``: ``list_val.txt`` belongs to training, as in the published results; ``"train"``: it is
            left out, to tune on.
    Raises:
        ArgumentError: another protocol.
        DataError: a list or image folder is missing, or a line cannot be read.
    """
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"MSMT17 has no protocol {protocol!r}. Expected {' or '.join(PROTOCOLS)}.")
    train_folder, test_folder = _image_folders(root)
    train = _read_list(root / "list_train.txt", train_folder, 1)
    notes = []
    if (root / "list_val.txt").is_file():
        val = _read_list(root / "list_val.txt", train_folder, 1)
        if protocol == "train":
            notes.append(f"The {len(val):,} images of list_val.txt are left out, as asked.")
        else:
            train += val
            notes.append(f"The {len(val):,} images of list_val.txt count as training, as is usual.")
    first_test_pid = 1 + max((s.pid for s in train), default=0)
    query, gallery = (_read_list(root / name, test_folder, first_test_pid) for name in _TEST_LISTS)
    notes.append(f"Identities are numbered from 1 in training and from {first_test_pid} in the test.")
    train_all, asked, sought = _in_order(train), _in_order(query), _in_order(gallery)
    return ReidDataset("msmt17", root, train_all, asked, sought, notes=tuple(notes), renumbered=True)


def _in_order(samples: list[Sample]) -> tuple[Sample, ...]:
    return tuple(sorted(samples, key=lambda s: path_key(s.path)))


def _image_folders(root: Path) -> tuple[Path, Path]:
    for train, test in _FOLDERS:
        if (root / train).is_dir() and (root / test).is_dir():
            return root / train, root / test
    raise DataError(f"{root} has the lists of MSMT17 but no images. Expected train and test, or mask_..._v2.")


def _read_list(path: Path, folder: Path, first_pid: int) -> list[Sample]:
    samples = []
    for number, line in read_lines(path):
        name, _, pid = line.strip().rpartition(" ")
        fields = name.rpartition("/")[2].split("_")
        numbers = (_number(pid), _number(fields[2])) if len(fields) > 2 else (None, None)
        if numbers[0] is None or numbers[1] is None:
            raise DataError(
                f"{path}, line {number}: {line!r}. Expected an image such as 0000/0000_000_01_....jpg, "
                "whose third field is the camera, and its identity."
            )
        samples.append(Sample(folder / name, numbers[0] + first_pid, numbers[1]))
    if samples and not samples[0].path.is_file():
        raise DataError(f"{path.name} names {samples[0].path}, which does not exist. Unpack MSMT17 again.")
    return samples


def _number(text: str) -> int | None:
    """A number as MSMT17 writes it; none of its numbers has more than nine digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
