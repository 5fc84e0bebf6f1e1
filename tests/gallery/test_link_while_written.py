"""Linking while others write the gallery: they can, and what they forget or decide holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosscam.cli.main import main
from crosscam.errors import GalleryBusyError
from crosscam.gallery import (
    Gallery,
    ModelIdentity,
    NewEntry,
    Where,
    create_gallery,
    link_gallery,
    link_runs,
    open_gallery,
    read_journeys,
    track_table,
)
from crosscam.gallery.link_runs import FREE_TRIES, decide
from crosscam.gallery.local import LocalGallery, working_alone
from crosscam.gallery.people_document import DOCUMENT, read_people
from crosscam.models.output import Block, Layout

MODEL = ModelIdentity("bbbb2222", "made up")
LAYOUT: Layout = (Block("global", 0, 16, 1, "global", (0.0, 1.0)),)
PEOPLE, CAMERAS, CROPS = 6, 2, 2


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Six people at two cameras, two images of each: people 1 to 6 once they are linked, entries 1 to 24."""
    looks = np.eye(16, dtype=np.float32)[:PEOPLE]
    with create_gallery(tmp_path / "g", LAYOUT, MODEL) as gallery:
        for camid in range(CAMERAS):
            entries = [
                NewEntry(f"{camid}-{pid}-{crop}.jpg", camid, time=100.0 * camid + 10 * pid + crop, track=str(pid))
                for pid in range(PEOPLE)
                for crop in range(CROPS)
            ]
            gallery.add(np.repeat(looks, CROPS, axis=0), entries, model=MODEL.fingerprint)
    return tmp_path / "g"


@pytest.fixture
def meanwhile(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Lets another program change the gallery each time after tracks were linked, before that is kept."""

    def change(*steps: Callable[[Gallery], object]) -> list[int]:
        runs: list[int] = []
        linked = link_runs._linked

        def then_changed(*given: Any) -> Any:
            found = linked(*given)
            runs.append(len(runs))
            if len(runs) <= len(steps):
                with LocalGallery.open(place, write=True, patience=0) as other:
                    steps[len(runs) - 1](other)
            return found

        monkeypatch.setattr(link_runs, "_linked", then_changed)
        return runs

    return change


def people_at(place: Path) -> dict[int, list[int]]:
    """Tracks of each person, by their first entries."""
    with open_gallery(place) as gallery:
        return {person.number: [track.name for track in person.tracks] for person in read_journeys(gallery).people}


def merge(person: int, other: int) -> Callable[[Gallery], object]:
    return lambda gallery: decide(gallery, lambda people, who, when: people.merge(person, other, who, when), "anna")


def test_what_is_forgotten_meanwhile_does_not_come_back(place: Path, meanwhile: Callable[..., list[int]]) -> None:
    """A whole person, and the first image of another's track."""
    runs = meanwhile(lambda gallery: gallery.forget(Where(ids=(3, 4, 15, 16, 1))))
    with open_gallery(place) as gallery:
        link_gallery(gallery)
        people = read_people(gallery.document(DOCUMENT))
        assert len(runs) == 1, "what is left is not linked anew"
        assert {entry for track in people.tracks.values() for entry in track.entries} == set(gallery.ids())
        assert {entry for track in people.tracks.values() for entry in (track.best, *track.entries)}.isdisjoint({1, 3})
        named = {name for e in people.evidence for name in (e.first, e.second)}
        assert named <= people.tracks.keys()
    assert people_at(place) == {1: [2, 13], 3: [5, 17], 4: [7, 19], 5: [9, 21], 6: [11, 23]}


def test_what_was_known_before_and_is_forgotten_meanwhile(place: Path, meanwhile: Callable[..., list[int]]) -> None:
    with open_gallery(place, write=True) as gallery:
        link_gallery(gallery)
        merge(1, 2)(gallery)
    runs = meanwhile(lambda gallery: gallery.forget(Where(ids=(3, 4))))
    with open_gallery(place) as gallery:
        link_gallery(gallery, again=True)
        assert len(runs) == 1
        assert set(gallery.ids()).isdisjoint({3, 4})
        assert len(read_journeys(gallery).decisions) == 1
    assert people_at(place)[1] == [1, 13, 15]


def test_what_is_decided_meanwhile_holds(place: Path, meanwhile: Callable[..., list[int]]) -> None:
    with open_gallery(place, write=True) as gallery:
        link_gallery(gallery)
    runs = meanwhile(merge(1, 2))
    with open_gallery(place) as gallery:
        link_gallery(gallery, again=True)
        assert len(read_journeys(gallery).decisions) == 1
    assert len(runs) == 2, "linked once more, with the decision"
    assert sorted(people_at(place)[1]) == [1, 3, 13, 15]
    assert 2 not in people_at(place)


def test_decided_each_time_it_is_linked_at_last_while_nobody_writes(
    place: Path, meanwhile: Callable[..., list[int]]
) -> None:
    with open_gallery(place, write=True) as gallery:
        link_gallery(gallery)
    steps = [merge(1, other) for other in range(2, 2 + FREE_TRIES)]

    def refused(gallery: Gallery) -> None:
        raise AssertionError("the gallery was written at the last try")

    runs = meanwhile(*steps)
    with open_gallery(place) as gallery:
        link_gallery(gallery, again=True)
    assert len(runs) == FREE_TRIES + 1
    assert sorted(people_at(place)) == [1, *range(2 + FREE_TRIES, PEOPLE + 1)]

    runs = meanwhile(*(merge(1, other) for other in (4, 5)), refused)
    with open_gallery(place) as gallery, pytest.raises(GalleryBusyError, match="is being written by"):
        link_gallery(gallery, again=True)


def test_what_is_forgotten_while_tracks_are_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = track_table._means_and_best
    turns: list[int] = []

    def forgotten_before(*given: Any) -> Any:
        if not turns:
            turns.append(1)
            with LocalGallery.open(place, write=True, patience=0) as other:
                other.forget(Where(ids=(1,)))
        return read(*given)

    monkeypatch.setattr(track_table, "_means_and_best", forgotten_before)
    with open_gallery(place) as gallery:
        link_gallery(gallery)
    assert people_at(place)[1] == [2, 13]


def test_one_command_links_at_a_time(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("crosscam.cli.link.PATIENCE", 0.0)
    with open_gallery(place) as gallery, working_alone(gallery, "link", "it is being linked"):
        with pytest.raises(SystemExit) as end:
            main(["link", str(place)])
        assert end.value.code == 2
        assert "g is being linked by process" in capsys.readouterr().err
        main(["link", str(place), "--show"])
    main(["link", str(place)])
    assert "6 people, 6 of them at more than one camera" in capsys.readouterr().err
    main(["link", str(place), "--merge", "1", "2"])
    assert not list(place.glob("link.lock"))
