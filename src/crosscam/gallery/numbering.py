"""Whom a gallery's numbers of identities name, so that different people never get one number in silence."""

from __future__ import annotations

from collections.abc import Sequence

from crosscam.data.records import DISTRACTOR_PID, ReidDataset, Sample
from crosscam.errors import DataError
from crosscam.gallery.filling import kept_name
from crosscam.gallery.interface import Gallery

DOCUMENT = "numbering"
OURS = "crosscam"


def keep_people_apart(gallery: Gallery, dataset: ReidDataset, samples: Sequence[Sample]) -> None:
    """Refuse pictures whose identity has the number of somebody else in the gallery, as far as that can be told.

    Whole numbers of two data sets are taken as they are: they name the same people. Names have no number of their own:
    each data set numbers them from 1. So where either side's identities were numbered by crosscam, a number may come
    again only for the pictures of this data set that the gallery has already. The gallery keeps no names for that,
    which ``forget`` would have to find.

    Args:
        gallery: opened for writing.
        dataset: where the pictures are from.
        samples: what is to be added.
    Raises:
        DataError: a number would stand for two people; nothing was added.
    """
    numbered_here = gallery.document(DOCUMENT) == OURS
    if not (dataset.renumbered or numbered_here):
        return
    own = {(kept_name(s.path), s.pid) for subset in dataset.subsets.values() for s in subset}
    others = {e.pid for e in gallery.entries() if e.pid is not None and (e.path, e.pid) not in own}
    shared = sorted(pid for pid in others & {s.pid for s in samples} if pid > DISTRACTOR_PID)
    if shared:
        first = ", ".join(map(str, shared[:3])) + (", ..." if len(shared) > 3 else "")
        why = (
            f"the identities of {dataset.name} have no numbers of their own and were numbered by crosscam"
            if dataset.renumbered
            else "the gallery's identities were names that crosscam numbered"
        )
        raise DataError(
            f"{len(shared):,} identities would get numbers of others in the gallery ({first}): {why}. Nothing was "
            "added. Write one table in which every person of both has a whole number of their own, or add the pictures "
            "with --unlabelled."
        )
    if dataset.renumbered and not numbered_here:
        gallery.set_document(DOCUMENT, OURS)
