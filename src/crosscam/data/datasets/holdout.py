"""Cut a test split out of training identities, in the same way on every machine."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from crosscam.data.records import RANKED_BY_TRACKLETS, ReidDataset, Sample, unmatched_queries
from crosscam.data.walk import natural_key, path_key
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted


def shuffle_pids(pids: Iterable[int], seed: int) -> list[int]:
    """Distinct pids in an order that the seed alone decides, whatever the library versions.

    They are sorted by the SHA-256 digest of ``"seed:pid"``.
    """
    return sorted(set(pids), key=lambda pid: hashlib.sha256(f"{seed}:{pid}".encode()).digest())


def query_gallery_split(samples: Iterable[Sample]) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """For each identity and camera, the first image (by file name) is a query, the rest are gallery."""
    groups: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for s in sorted(samples, key=lambda s: (natural_key(s.path.name), path_key(s.path))):
        groups[s.pid, s.camid].append(s)
    firsts = (group[0] for group in groups.values())
    rest = (s for group in groups.values() for s in group[1:])
    return (tuple(sorted(firsts, key=lambda s: path_key(s.path))), tuple(sorted(rest, key=lambda s: path_key(s.path))))


def holdout(
    dataset: ReidDataset, *, num_train_ids: int | None = None, test_share: float = 1 / 3, seed: int | None = None
) -> ReidDataset:
    """Cut query and gallery out of the training identities.

    The identities are sorted by number, or shuffled by ``seed``; the first ones stay for training, the rest
    are tested. The dataset's own query and gallery are dropped, with a note.

    Args:
        dataset: only its ``train`` is used.
        num_train_ids: how many identities stay for training; decides alone where it is given.
        test_share: share of the identities that are tested, in (0, 1).
        seed: None keeps the order of the numbers.
    Raises:
        ValueError: a count or share that leaves no identity on one side.
        DataError: fewer than two training identities, or no image for the gallery.
    """
    pids = sorted({s.pid for s in dataset.train})
    if len(pids) < 2:
        raise DataError(
            f"{dataset.place} has {counted(len(pids), 'training identity')}. A hold-out needs at least 2, "
            "one on each side."
        )
    if num_train_ids is None:
        if not 0 < test_share < 1:
            raise ArgumentError(f"test_share must lie between 0 and 1, found {test_share}.")
        num_train_ids = min(max(len(pids) - round(len(pids) * test_share), 1), len(pids) - 1)
    if not 0 < num_train_ids < len(pids):
        raise ArgumentError(
            f"num_train_ids={num_train_ids}: expected 1 to {len(pids) - 1}, since {dataset.place} has {len(pids)} "
            "training identities and at least one is tested."
        )
    order = pids if seed is None else shuffle_pids(pids, seed)
    kept = set(order[:num_train_ids])
    query, gallery = query_gallery_split(s for s in dataset.train if s.pid not in kept)
    if not gallery:
        raise DataError(
            f"{dataset.place} has one image of each tested identity at each camera: all would be queries and the "
            "gallery empty. A hold-out needs identities with two images or more at a camera."
        )
    cut = replace(
        dataset,
        name=f"{dataset.name}-holdout",
        train=tuple(s for s in dataset.train if s.pid in kept),
        query=query,
        gallery=gallery,
        tracklets=False,
    )
    how = "in order of number" if seed is None else f"shuffled with seed {seed}"
    notes = [f"Hold-out: {num_train_ids} of {len(pids)} training identities ({how}) train, the rest are tested."]
    if dataset.tracklets:
        notes.append("The hold-out ranks images; 'crosscam evaluate --tracklets' ranks its tracks.")
    if dataset.query or dataset.gallery:
        notes.append(
            f"The dataset's own {len(dataset.query):,} query and {len(dataset.gallery):,} gallery images are not used."
        )
    told = [note for note in dataset.notes if not note.startswith(RANKED_BY_TRACKLETS)]
    return replace(cut, notes=(*told, *notes, *_unmatched_note(cut)))


def _unmatched_note(dataset: ReidDataset) -> tuple[str, ...]:
    unmatched = len(unmatched_queries(dataset))
    if not unmatched:
        return ()
    return (
        f"Not scored: {unmatched:,} of {counted(len(dataset.query), 'query')}, without a match from another camera.",
    )


def two_camera_dataset(
    name: str, root: Path, samples: Sequence[Sample], num_test_ids: int, split: int, notes: Sequence[str]
) -> ReidDataset:
    """Test random identities across two cameras: camera 1 asks, camera 2 answers; the others train.

    Args:
        name: of the dataset.
        root: its folder.
        samples: all images, cameras 1 and 2.
        num_test_ids: how many identities are tested; all of them leave nothing to train.
        split: seed, see :func:`shuffle_pids`.
        notes: what the reader has to say; a note on the split is added.
    Raises:
        DataError: no images.
    """
    pids = {s.pid for s in samples}
    if not pids:
        raise DataError(f"No images of {name} in {root}. Unpack it again; see docs/datasets.md.")
    test = set(shuffle_pids(pids, split)[:num_test_ids])
    if num_test_ids < len(pids):
        how = f"Split {split}: {len(pids) - len(test)} identities train, {len(test)} others are tested."
    else:
        how = f"All {len(test)} identities are tested, none trains."
    return across_two_cameras(name, root, samples, test, (*notes, how))


def across_two_cameras(
    name: str, root: Path, samples: Sequence[Sample], test: set[int], notes: Sequence[str]
) -> ReidDataset:
    """Test these identities across two cameras: camera 1 asks, camera 2 answers; all others train."""
    return ReidDataset(
        name,
        root,
        train=tuple(s for s in samples if s.pid not in test),
        query=tuple(s for s in samples if s.pid in test and s.camid == 1),
        gallery=tuple(s for s in samples if s.pid in test and s.camid == 2),
        notes=tuple(notes),
    )
