"""People as the document that is kept with a gallery: written, read, and pruned of what was forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from crosscam.errors import ArgumentError
from crosscam.gallery.answers import ANSWERS, JUDGMENTS, readable_items
from crosscam.gallery.people import Decision, Evidence, KeptTrack, People, without

DOCUMENT = "journeys"
FORMAT = 1


def read_people(document: Any) -> People:
    """From the gallery's document; what is not of this form is left out."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return People()
    tracks = {track.entries[0]: track for track in readable_items(document.get("tracks"), _track)}
    named = tracks.keys()
    evidence = (e for e in readable_items(document.get("evidence"), _evidence) if {e.first, e.second} <= named)
    decisions = (d for d in readable_items(document.get("decisions"), _decision) if named >= {*d.tracks, *d.others})
    highest = max((track.person for track in tracks.values()), default=0)
    given = document.get("next")
    return People(max(highest + 1, given if isinstance(given, int) else 1), tracks, tuple(evidence), tuple(decisions))


def as_document(people: People) -> dict[str, Any] | None:
    """For the gallery; None without a track."""
    if not people.tracks:
        return None
    return {
        "format": FORMAT,
        "next": people.next,
        "tracks": [[t.person, t.best, list(t.entries)] for _, t in sorted(people.tracks.items())],
        "evidence": [asdict(e) for e in people.evidence],
        "decisions": [asdict(d) for d in people.decisions],
    }


def pruned(document: Any, known: Callable[[list[int]], Iterable[int]]) -> dict[str, Any] | None:
    """The document without entries that are not in the gallery, and without tracks that have no other.

    Args:
        document: as the gallery keeps it.
        known: those of some entries that are there.
    Returns:
        The new document, empty where nothing is left; None where the old one can stay.
    """
    people = read_people(document)
    named = {entry for track in people.tracks.values() for entry in track.entries}
    gone = named - set(known(sorted(named)))
    return (as_document(without(people, gone)) or {}) if gone else None


def _track(item: Any) -> KeptTrack:
    person, best, entries = item
    kept = tuple(int(entry) for entry in entries)
    if not kept:
        raise ArgumentError("a track without entries")
    return KeptTrack(int(person), int(best), kept)


def _evidence(item: Any) -> Evidence:
    usual, gap = item["usual"], item["gap"]
    return Evidence(
        int(item["first"]),
        int(item["second"]),
        float(item["probability"]),
        float(item["distance"]),
        float(item["alone"]),
        None if gap is None else float(gap),
        None if usual is None else (float(usual[0]), float(usual[1])),
        float(item["rival"]),
        bool(item["calibrated"]),
    )


def _decision(item: Any) -> Decision:
    kind = item["kind"]
    if kind not in ("confirm", "split", "merge", "apart"):
        raise ArgumentError(kind)
    tracks, others = (tuple(int(n) for n in item[name]) for name in ("tracks", "others"))
    people = int(item["source"]), int(item["target"])
    return Decision(kind, tracks, others, *people, str(item["who"]), str(item["when"]))


# What goes with the entries that it names, by document: see :func:`pruned`.
PRUNED: Mapping[str, Callable[[Any, Callable[[list[int]], Iterable[int]]], Any]] = {
    JUDGMENTS.document: JUDGMENTS.pruned,
    ANSWERS.document: ANSWERS.pruned,
    DOCUMENT: pruned,
}
