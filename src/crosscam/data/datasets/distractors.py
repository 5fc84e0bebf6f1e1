"""Images of strangers in the gallery of a data set, such as Market-1501's 500,000 distractors."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.data.walk import find_files
from crosscam.errors import DataError


def with_distractors(dataset: ReidDataset, folder: Path) -> ReidDataset:
    """The data set with all images of a folder and its folders in the gallery, as identity 0; Market-1501's 500,000.

    Raises:
        DataError: no images there, some that the data set has already, or a ranking that draws one image of each
            identity, where all distractors together would count as one.
    """
    if dataset.protocol == "cuhk03":
        raise DataError(
            f"{dataset.root} is ranked with one gallery image of each identity, and distractors would be one of them. "
            "Leave --distractors out, or choose another --protocol."
        )
    if not folder.is_dir():
        raise DataError(f"No folder {folder} with distractors. Check the path of --distractors.")
    root = Path(os.path.abspath(folder))
    paths = find_files(root).pictures
    known = {s.path for samples in dataset.subsets.values() for s in samples}
    if not paths or known & set(paths):
        what = "images of the data set itself" if paths else "no images"
        raise DataError(f"{folder} holds {what}. Expected a folder of other people's images, as distractors.")
    added = tuple(Sample(path, DISTRACTOR_PID, 0) for path in paths)
    note = f"{len(added):,} distractors of {folder} are in the gallery and match nobody."
    gallery, notes = (*dataset.gallery, *added), (*dataset.notes, note)
    return replace(dataset, name=f"{dataset.name}-distractors", gallery=gallery, notes=notes, distractors=root)
