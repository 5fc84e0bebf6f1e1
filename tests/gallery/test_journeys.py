"""Linking tracks to people: identities in, journeys out; what is certain, what users decide, what is forgotten."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_gallery import all_bytes, files_with, unit

from crosscam.calibration.calibration import Calibration, Origin, Thresholds
from crosscam.calibration.fitting import calibrate
from crosscam.cli.main import main
from crosscam.data.synthetic.walks import CAMERA_NAMES, Walk, plan_walks
from crosscam.errors import ArgumentError, DataError, GalleryError
from crosscam.gallery import (
    Gallery,
    Journeys,
    LinkOptions,
    ModelIdentity,
    NewEntry,
    Where,
    create_gallery,
    link_gallery,
    open_gallery,
    read_journeys,
)
from crosscam.gallery.calibrated import calibrate_answers
from crosscam.gallery.clusters import exclude
from crosscam.gallery.entries import Entry
from crosscam.gallery.fragments import Fragment, clock_span, shown_name
from crosscam.gallery.journeys import Person, TrackSeen
from crosscam.gallery.judging import Transit, calibrated_judge, learn_transits, plain_judge, read_transits
from crosscam.gallery.link_runs import LinkRun, decide
from crosscam.gallery.linking import Linker
from crosscam.gallery.people_document import DOCUMENT, read_people
from crosscam.gallery.track_table import Tracks, span, tracks_of
from crosscam.metrics.identity import identity_scores
from crosscam.models.output import Block, Layout
from crosscam.report.journey_view import timeline, ways_of
from crosscam.shipped import run_folder
from crosscam.video.journey_truth import score_journeys

HERE = Path(__file__).parent
MODEL = ModelIdentity("bbbb2222", "made up")
DIM = 64
LAYOUT: Layout = (Block("global", 0, DIM, 1, "global", (0.0, 1.0)),)
START = 1_700_000_000.0
CROPS = 3


@dataclass(frozen=True)
class Truth:
    """Who each walk's track is, by camera and track name."""

    who: dict[tuple[str, str], int]

    def of(self, found: Journeys) -> list[tuple[int, int]]:
        """True and found person of each track."""
        return [(self.who[t.camera, str(t.track)], p.number) for p in found.people for t in p.tracks]

    def scores(self, found: Journeys):  # type: ignore[no-untyped-def]
        return identity_scores(*zip(*self.of(found), strict=True))


def looks(people: int, seed: int) -> NDArray[np.float32]:
    """A direction for each person, from 1."""
    return unit(np.random.default_rng(seed).standard_normal((people + 1, DIM)))


def add_walks(gallery: Gallery, walks: list[Walk], faces: NDArray[np.float32], noise: float = 0.6) -> Truth:
    """A track of three images for each walk, with descriptors near the person's own."""
    who = {}
    for walk in walks:
        rng = np.random.default_rng([walk.pid, walk.camera, int(1000 * walk.enter) % 2**31])
        rows = unit(faces[walk.pid] + noise / np.sqrt(DIM) * rng.standard_normal((CROPS, DIM)))
        name, track = CAMERA_NAMES[walk.camera], f"{walk.pid}-{walk.enter:.2f}"
        times = np.linspace(walk.enter, walk.leave, CROPS) + START
        entries = [NewEntry(f"{name}/{track}-{k}.jpg", walk.camera, None, t, track, name) for k, t in enumerate(times)]
        gallery.add(rows, entries, [f"jpeg {track} {k}".encode() for k in range(CROPS)], model=MODEL.fingerprint)
        who[name, track] = walk.pid
    return Truth(who)


def made(
    place: Path, *, people: int = 16, cameras: int = 3, noise: float = 0.6, seed: int = 0
) -> tuple[Gallery, Truth]:
    """A gallery of all walks of a drawn scene, open for writing."""
    gallery = create_gallery(place, LAYOUT, MODEL)
    walks = plan_walks(people, cameras, 80.0, seed)
    return gallery, add_walks(gallery, list(walks), looks(people, seed), noise)


def test_identities_in_journeys_out(tmp_path: Path) -> None:
    gallery, truth = made(tmp_path / "g")
    run = link_gallery(gallery)
    found = read_journeys(gallery)
    scores = truth.scores(found)
    assert scores.idf1 == 1
    assert (scores.link_precision, scores.link_recall) == (1, 1)
    assert len(found.people) == 16 == run.new_people
    assert found.unlinked == 0
    for person in found.people:
        starts = [track.start for track in person.tracks]
        assert starts == sorted(starts)
        assert person.links[0] is None
        for link in person.links[1:]:
            assert link is not None
            assert link.probability is not None
            assert link.probability >= LinkOptions().same
            assert any("not calibrated" in reason for reason in link.reasons)
    usual = {way: transit for way, transit in run.transits.items() if abs(way[0] - way[1]) == 1}
    assert usual, "ways between neighbours are learned"
    assert all(2 < transit.seconds < 8 for transit in usual.values())
    gallery.close()


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g")
    link_gallery(gallery)
    kept = gallery.document(DOCUMENT)
    assert link_gallery(gallery) == LinkRun(0, 0, 0, link_gallery(gallery).transits, link_gallery(gallery).told)
    assert gallery.document(DOCUMENT) == kept
    again = link_gallery(gallery, again=True)
    assert again.new_people == 0, "people keep their numbers"
    assert gallery.document(DOCUMENT)["tracks"] == kept["tracks"]
    gallery.close()


def test_tracks_of_one_camera_that_overlap_are_two_people(tmp_path: Path) -> None:
    """Twins: the descriptors are the same, and the times tell them apart."""
    gallery = create_gallery(tmp_path / "g", LAYOUT, MODEL)
    faces = looks(12, 1)
    others = [Walk(pid, pid % 2, 10.0 * pid, 10.0 * pid + 4, 1, 0.7, 0.8, 0, 1) for pid in range(1, 12)]
    add_walks(gallery, others, faces)
    twins = [Walk(12, 0, 300.0, 306.0, 1, 0.7, 0.8, 0, 1), Walk(12, 0, 305.0, 310.0, 1, 0.7, 0.8, 0, 1)]
    add_walks(gallery, twins, faces, noise=0.01)
    link_gallery(gallery)
    people = {track.track: p.number for p in read_journeys(gallery).people for track in p.tracks}
    assert people["12-300.00"] != people["12-305.00"]
    assert not any(
        {p.first, p.second} == {people["12-300.00"], people["12-305.00"]} for p in read_journeys(gallery).proposals
    )
    # Later at the same camera, it could be either of them: unsure, and left to a person.
    add_walks(gallery, [Walk(12, 0, 330.0, 336.0, 1, 0.7, 0.8, 0, 1)], faces, noise=0.01)
    link_gallery(gallery)
    found = read_journeys(gallery)
    third = next(p.number for p in found.people for t in p.tracks if t.track == "12-330.00")
    assert third not in (people["12-300.00"], people["12-305.00"])
    asked = {(p.first, p.second) for p in found.proposals}
    assert {(people["12-300.00"], third), (people["12-305.00"], third)} <= asked
    assert any("another candidate" in reason for p in found.proposals for reason in p.link.reasons)
    gallery.close()


@pytest.mark.parametrize(
    ("other", "excluded"),
    [
        ((3.0, 8.0, 1), True),
        ((5.0, 8.0, 1), True),
        ((5.1, 8.0, 1), False),
        ((3.0, 8.0, 2), False),
        ((3.0, 8.0, 0), True),
    ],
)
def test_tracks_that_overlap_are_two_people_in_one_video_alone(other: tuple[float, float, int], excluded: bool) -> None:
    one = (0.0, 5.0, 1)  # begin, end, video; 0 for a video that is not known
    assert exclude(one, other) == exclude(other, one) == excluded


def test_new_tracks_do_not_relabel_old_people(tmp_path: Path) -> None:
    walks = sorted(plan_walks(16, 3, 80.0, 0), key=lambda walk: walk.enter)
    faces = looks(16, 0)
    gallery = create_gallery(tmp_path / "g", LAYOUT, MODEL)
    numbers: dict[str, int] = {}
    who: dict[tuple[str, str], int] = {}
    for first in range(0, len(walks), 8):
        who |= add_walks(gallery, walks[first : first + 8], faces).who
        assert read_journeys(gallery).unlinked == len(walks[first : first + 8])
        link_gallery(gallery)
        found = read_journeys(gallery)
        now = {str(t.track): p.number for p in found.people for t in p.tracks}
        assert {track: now[track] for track in numbers} == numbers
        numbers = now
    assert Truth(who).scores(read_journeys(gallery)).idf1 > 0.9
    gallery.close()


def test_unsure_pairs_are_proposed_and_not_merged(tmp_path: Path) -> None:
    gallery, truth = made(tmp_path / "g", noise=3.2)
    link_gallery(gallery)
    found = read_journeys(gallery)
    assert found.proposals
    for proposal in found.proposals:
        assert proposal.first != proposal.second
        assert LinkOptions().unsure <= (proposal.link.probability or 0)
    assert truth.scores(found).link_precision > 0.9
    gallery.close()


def test_a_decision_overrules_and_can_be_undone(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g")
    link_gallery(gallery)
    before = gallery.document(DOCUMENT)
    found = read_journeys(gallery)
    person = max(found.people, key=lambda p: len(p.tracks))
    chosen = person.tracks[-1].name
    decide(gallery, lambda people, who, when: people.split([chosen], who, when), "anna")
    after = read_journeys(gallery)
    new = next(p for p in after.people if p.tracks[0].name == chosen)
    assert new.number == max(p.number for p in found.people) + 1
    assert len(after.person(person.number).tracks) == len(person.tracks) - 1  # type: ignore[union-attr]
    assert not any({p.first, p.second} == {new.number, person.number} for p in after.proposals)
    # Neither a run over new tracks nor one over all changes what was decided.
    for again in (False, True):
        link_gallery(gallery, again=again)
        kept = read_journeys(gallery)
        assert [t.name for t in kept.person(new.number).tracks] == [chosen]  # type: ignore[union-attr]
    decide(
        gallery, lambda people, who, when: people.merge(new.number, 1 if person.number != 1 else 2, who, when), "anna"
    )
    link_gallery(gallery, again=True)
    merged = next(p for p in read_journeys(gallery).people if chosen in {t.name for t in p.tracks})
    link = next(link for link in merged.links if link and chosen in (link.first, link.second))
    assert link.confirmed
    assert link.decision is not None
    assert link.decision.who == "anna"
    for _ in range(2):
        decide(gallery, lambda people, who, when: people.undo(), "anna")
    link_gallery(gallery, again=True)
    assert gallery.document(DOCUMENT)["tracks"] == before["tracks"]
    with pytest.raises(ArgumentError, match="no decision to undo"):
        decide(gallery, lambda people, who, when: people.undo(), "anna")
    gallery.close()


def test_an_undone_merge_keeps_the_reasons_of_its_links(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g")
    link_gallery(gallery)
    before = read_journeys(gallery)
    one, other = [p.number for p in before.people if len(p.tracks) > 1][:2]
    decide(gallery, lambda people, who, when: people.merge(one, other, who, when), "anna")
    link_gallery(gallery, again=True)
    decide(gallery, lambda people, who, when: people.undo(), "anna")
    after = read_journeys(gallery)
    for number in (one, other):
        links = before.person(number).links  # type: ignore[union-attr]
        assert any(link and link.probability is not None for link in links)
        assert after.person(number).links == links  # type: ignore[union-attr]
    gallery.close()


def test_confirmed_people_say_so(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g")
    link_gallery(gallery)
    person = max(read_journeys(gallery).people, key=lambda p: len(p.tracks))
    assert not person.confirmed
    decide(gallery, lambda people, who, when: people.confirm(person.number, who, when), "anna")
    assert read_journeys(gallery).person(person.number).confirmed  # type: ignore[union-attr]
    decide(gallery, lambda people, who, when: people.undo(), "anna")
    assert not read_journeys(gallery).person(person.number).confirmed  # type: ignore[union-attr]
    gallery.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda people: people.merge(1, 1, "a", "b"), "cannot be merged with itself"),
        (lambda people: people.merge(1, 999, "a", "b"), "no person 999"),
        (lambda people: people.split([999], "a", "b"), "begins with entry 999"),
        (lambda people: people.split(people.of(1), "a", "b"), "nothing to split"),
        (lambda people: people.confirm(999, "a", "b"), "no person 999"),
        (lambda people: people.apart(2, 2, "a", "b"), "is one person"),
    ],
)
def test_what_cannot_be_decided(tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    gallery, _ = made(tmp_path / "g", people=6, cameras=2)
    with pytest.raises(GalleryError, match="no journeys yet"):
        decide(gallery, lambda people, who, when: change(people), "anna")
    link_gallery(gallery)
    before = gallery.document(DOCUMENT)
    with pytest.raises(ArgumentError, match=said):
        decide(gallery, lambda people, who, when: change(people), "anna")
    assert gallery.document(DOCUMENT) == before
    gallery.close()


def test_forgotten_entries_vanish_from_journeys(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g")
    link_gallery(gallery)
    found = read_journeys(gallery)
    first, second = found.people[0], found.people[1]
    decide(gallery, lambda people, who, when: people.confirm(second.number, who, when), "anna-0815")
    gone = {entry for track in first.tracks for entry in track.entries} | {second.tracks[0].entries[0]}
    assert gallery.forget(Where(ids=tuple(gone))) == len(gone)
    left = read_journeys(gallery)
    assert left.person(first.number) is None
    kept = left.person(second.number)
    assert kept is not None
    assert kept.tracks[0].entries == second.tracks[0].entries[1:]
    assert kept.tracks[0].name == second.tracks[0].entries[1], "a track goes by its next entry"
    assert kept.confirmed, "a decision holds for what is left"
    document = gallery.document(DOCUMENT)
    assert not gone & {entry for track in document["tracks"] for entry in track[2]}
    assert not gone & {e[side] for e in document["evidence"] for side in ("first", "second")}
    gallery.forget(Where(ids=tuple(entry for track in second.tracks for entry in track.entries)))
    gallery.compact()
    assert files_with(all_bytes(tmp_path / "g"), b"anna-0815") == []
    link_gallery(gallery)
    assert gallery.verify().sound
    gallery.forget(Where(added_before=9e9))
    assert gallery.document(DOCUMENT) is None
    assert read_journeys(gallery).people == ()
    gallery.close()


def test_a_backup_has_the_journeys(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g", people=6, cameras=2)
    link_gallery(gallery)
    gallery.backup(tmp_path / "copy")
    with open_gallery(tmp_path / "copy") as copy:
        assert read_journeys(copy) == read_journeys(gallery)
    gallery.close()


def test_more_images_of_a_known_track_stay_with_it(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g", people=6, cameras=2)
    link_gallery(gallery)
    track = read_journeys(gallery).people[0].tracks[0]
    entry = NewEntry("late.jpg", track.camid, None, track.end, track.track, track.camera)
    (new,) = gallery.add(gallery.descriptors([track.name]), [entry], model=MODEL.fingerprint)
    assert read_journeys(gallery).unlinked == 0
    assert link_gallery(gallery).new_tracks == 0
    assert new in read_journeys(gallery).people[0].tracks[0].entries
    gallery.close()


def test_a_calibration_of_the_gallery_judges_distances(tmp_path: Path) -> None:
    gallery, truth = made(tmp_path / "g", noise=1.0)
    pids = np.repeat(np.arange(1, 301), 4)
    rng = np.random.default_rng(9)
    rows = unit(looks(300, 9)[pids] + 1.0 / np.sqrt(DIM) * rng.standard_normal((len(pids), DIM)))
    origin = Origin("made up", "cccc", MODEL.fingerprint)
    found = calibrate(rows, pids, np.tile([1, 2], 600), origin, fmr=0.01, fnmr=0.1, replicates=5)
    gallery.set_document("calibration", json.loads(found.to_json()))
    run = link_gallery(gallery)
    assert "Rests on" in run.told
    journeys = read_journeys(gallery)
    reasons = [reason for p in journeys.people for link in p.links if link for reason in link.reasons]
    assert any("(calibrated)" in reason for reason in reasons)
    assert not any("not calibrated" in reason for reason in reasons)
    scores = truth.scores(journeys)
    assert scores.link_precision == 1
    assert scores.idf1 > 0.9
    # One of other cameras tells nothing about these.
    gallery.set_document("calibrated_elsewhere", "cccc")
    assert link_gallery(gallery).told.startswith("Not calibrated")
    gallery.close()


def test_given_transit_times_decide_between_look_alikes(tmp_path: Path) -> None:
    """Two of equal looks leave camera 0 at different times; who comes to camera 1 is told by the way."""
    gallery = create_gallery(tmp_path / "g", LAYOUT, MODEL)
    faces = looks(12, 3)
    add_walks(gallery, [Walk(p, p % 2, 10.0 * p, 10.0 * p + 4, 1, 0.7, 0.8, 0, 1) for p in range(1, 12)], faces)
    walks = [(0, 200.0, 206.0), (0, 205.0, 211.0), (1, 216.0, 220.0)]
    add_walks(gallery, [Walk(12, c, a, b, 1, 0.7, 0.8, 0, 1) for c, a, b in walks], faces, noise=0.01)
    link_gallery(gallery, transits={})
    assert (
        len({p.number for p in read_journeys(gallery).people for t in p.tracks if str(t.track).startswith("12-")}) == 3
    )
    link_gallery(gallery, transits={(0, 1): Transit(10.0, 1.0)}, again=True)
    number = {str(t.track): p.number for p in read_journeys(gallery).people for t in p.tracks}
    assert number["12-216.00"] == number["12-200.00"] != number["12-205.00"]
    gallery.close()


def test_a_way_that_few_have_gone_lasts_as_long_as_the_way_back() -> None:
    there, back = [(1, 2, gap) for gap in (9.0, 10.0, 11.0)], [(2, 1, gap) for gap in (10.0, 10.5)]
    learned = learn_transits([*there, *back])
    assert learned == {way: Transit(10.0, 3.0, 5) for way in ((1, 2), (2, 1))}
    assert learn_transits([*there, *back], both=False) == {}
    many = learn_transits([(1, 2, 10.0)] * 4)
    assert many[1, 2] == Transit(10.0, 1.5, 4)
    assert many[2, 1] == Transit(10.0, 3.0, 4), "less sure"


def test_transits_are_learned_and_read(tmp_path: Path) -> None:
    assert learn_transits([(1, 2, g) for g in (9.0, 10.0, 11.0)]) == {}
    learned = learn_transits([(1, 2, g) for g in (9.0, 10.0, 11.0, 10.0, 300.0)])
    assert learned[1, 2].seconds == 10
    assert learned[1, 2].spread == pytest.approx(1.5, abs=0.1)
    assert learned[1, 2].weight(10.0, 1000.0) > 5 > -2.4 < learned[1, 2].weight(90.0, 1000.0) < 0
    file = tmp_path / "ways.csv"
    file.write_text("from,to,seconds,spread\ngate,2,12,3\nhall,gate,8,\n", encoding="utf-8")
    assert read_transits(file, {1: "gate", 2: "hall"}, (1, 2)) == {(1, 2): Transit(12, 3), (2, 1): Transit(8, 2.4)}
    for text, said in (
        ("from,to\n1,2\n", "no column seconds"),
        ("from,to,seconds\n1,nowhere,3\n", "line 2: No camera is called 'nowhere'"),
        ("from,to,seconds\n1,2,soon\n", "line 2"),
        ("from,to,seconds,spread\n1,2,3,0\n", "spread above 0"),
        ("from,to,seconds\n", "no rows"),
        ("from,to,seconds\n1,2,10,5\n", "line 2: another number of cells than in the first line"),
        ("from,to,seconds\n1,2\n", "line 2: another number of cells than in the first line"),
        ("from,to,seconds,seconds\n1,2,10,90\n", "names a column twice: from,to,seconds,seconds"),
        ("from,to,seconds\n1,22,3\n", "line 2: no entry of the gallery is of camera 22"),
        ("from,to,seconds,spred\n1,2,3,1\n", "unknown column 'spred'. Did you mean spread"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=said):
            read_transits(file, {1: "gate"}, (1, 2))
    with pytest.raises(DataError, match="cannot be read"):
        read_transits(tmp_path / "none.csv", {}, ())


def test_sparse_pairs_give_what_all_pairs_give(tmp_path: Path) -> None:
    gallery, _ = made(tmp_path / "g", noise=1.5)
    tracks = tracks_of(gallery)
    persons = np.zeros(len(tracks), np.int64)
    results = []
    for nearest in (5, len(tracks)):
        options = LinkOptions(nearest=nearest)
        linker = Linker(tracks, plain_judge(tracks, options), options, persons=persons)
        results.append({members for members, _ in linker.link().clusters})
    assert results[0] == results[1]
    gallery.close()


def test_at_one_camera_a_distance_says_as_much_as_a_larger_one_elsewhere() -> None:
    distances = np.linspace(0.2, 1.2, 100)
    plain = calibrate_answers(distances.tolist(), (distances < 0.7).tolist(), Origin("toy", "d" * 16, "f" * 64), 100)
    same, other = plain.pooled.same, plain.pooled.other
    judge = calibrated_judge(replace(plain, within=Thresholds(same - 0.1, other, 0, 100)))
    assert judge.ratio(0.6, True) == judge.ratio(0.6 + (same - (same - 0.1)), False) < judge.ratio(0.6, False)


def linked_twins(persons: list[int], **said: object) -> tuple[tuple[tuple[int, ...], int | None], ...]:
    """Two tracks of one camera, one after the other, with nearly the same descriptors."""
    means, numbers = unit(1 + 0.3 * np.eye(2, DIM)), np.arange(2)
    times = numbers * 10.0, numbers * 10.0 + 5
    tracks = Tracks(((1,), (2,)), np.ones(2, np.int64), *times, means, numbers + 1, numbers * 0)
    options = LinkOptions(nearest=1, distance=0.5)
    linker = Linker(tracks, plain_judge(tracks, options), options, persons=np.array(persons), **said)
    return linker.link().clusters


def test_a_tracks_nearest_at_its_own_camera_is_not_itself() -> None:
    assert linked_twins([0, 0]) == (((0, 1), None),)


def test_two_known_people_are_never_merged() -> None:
    assert linked_twins([4, 7]) == linked_twins([4, 7], together=[(0, 1)]) == (((0,), 4), ((1,), 7))


def test_tables(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas") if "pandas" in sys.modules else None
    gallery, _ = made(tmp_path / "g", people=6, cameras=2)
    link_gallery(gallery)
    found = read_journeys(gallery)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == sum(len(p.tracks) for p in found.people)
    assert [row["person"] for row in rows] == [str(p.number) for p in found.people for _ in p.tracks]
    assert {row["camera"] for row in rows} == {"gate", "hall"}
    if pandas:
        assert list(found.to_pandas()["person"]) == [int(row["person"]) for row in rows]
    gallery.close()


# Written as one document: a kill leaves the one before or the one after.

PROGRAM = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from crosscam.gallery import open_gallery, link_gallery, read_journeys
from crosscam.gallery.link_runs import decide
with open_gallery(sys.argv[1], write=True) as gallery:
    link_gallery(gallery)
    print("linked", flush=True)
    for turn in range(1000):
        decide(gallery, lambda people, who, when: people.confirm(1 + turn % 4, str(turn), when), "anna")
        print(turn, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 3, 7])
def test_a_kill_loses_no_decision(tmp_path: Path, lines: int) -> None:
    gallery, _ = made(tmp_path / "g", people=4, cameras=2, seed=5)
    link_gallery(gallery)
    assert all(len(p.tracks) > 1 for p in read_journeys(gallery).people)
    gallery.close()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "g")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    acknowledged = sum(line.strip().isdigit() for line in told)
    with open_gallery(tmp_path / "g", write=True) as after:
        assert after.verify().sound
        decisions = read_people(after.document(DOCUMENT)).decisions
        assert [int(d.who) for d in decisions] == list(range(len(decisions)))
        assert len(decisions) in (acknowledged, acknowledged + 1)
        link_gallery(after)


def test_dates_and_times_of_a_video_are_two_clocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two cameras with dates, and a third whose video has no start."""
    gallery, truth = made(tmp_path / "g")
    late = [entry for entry in gallery.entries() if entry.camera == "yard"]
    for entry in late:
        assert entry.time is not None
        gallery.update([entry.id], time=entry.time - START)
    run = link_gallery(gallery)
    found = read_journeys(gallery)
    yard = late[0].camid
    assert run.transits
    assert all(yard not in way for way in run.transits)
    assert truth.scores(found).link_precision == 1
    assert any(len(set(person.cameras) - {"yard"}) < len(person.cameras) > 1 for person in found.people)
    assert all("yard" not in (way.start, way.end) and way.seconds < 60 for way in ways_of(found.people))
    linker = Linker(
        tracks_of(gallery),
        plain_judge(tracks_of(gallery), LinkOptions()),
        LinkOptions(),
        persons=np.zeros(len(tracks_of(gallery)), np.int64),
    )
    assert linker._span < 200
    gallery.close()
    main(["link", str(tmp_path / "g"), "--show"])
    assert "note: the times of yard count from the first frame" in capsys.readouterr().err


# The command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery, truth = made(tmp_path / "g")
    gallery.close()
    place, table = str(tmp_path / "g"), tmp_path / "truth.csv"
    rows = [f"{camera},{track},p{pid},7" for (camera, track), pid in truth.who.items()]
    table.write_text("\n".join(["camera,track,person,boxes", *rows]) + "\n", encoding="utf-8")
    main(["link", place, "--truth", str(table), "--csv", str(tmp_path / "out.csv")])
    said = capsys.readouterr()
    assert "Multi-camera IDF1 100.0%" in said.err
    assert "16 people" in said.err
    assert "gate" in said.out
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == len(rows) + 1
    assert "note: " not in said.err
    lost = [*rows[:-2], "roof,1,p99,3", "roof,2,,3"]
    table.write_text("\n".join(["camera,track,person,boxes", *lost]) + "\n", encoding="utf-8")
    main(["link", place, "--show", "--truth", str(table)])
    said = capsys.readouterr()
    assert "the truth does not know 2 tracks of these" in said.err
    assert "the truth has 1 track that no journey has" in said.err
    assert f"{len({row.split(',')[2] for row in lost} - {''})} true people, 16 found" in said.err
    table.write_text("\n".join(["camera,track,person,boxs", *rows]) + "\n", encoding="utf-8")
    main(["link", place, "--show", "--truth", str(table)])
    said = capsys.readouterr().err
    assert "truth.csv: columns not used: boxs. There is no column boxes: each track counts as one box." in said
    main(["link", place, "--show", "--truth", str(tmp_path / "out.csv")])
    said = capsys.readouterr().err
    assert "out.csv: columns not used: camid, start, end, images" in said
    assert "IDF1 100.0%" in said
    main(["link", place, "--merge", "1", "2"])
    assert "15 people" in capsys.readouterr().err
    main(["link", place, "--undo", "--json"])
    assert '"unlinked": 0' in capsys.readouterr().out
    table.write_text("\n".join(["camera,track,person,boxes", *rows, rows[0]]) + "\n", encoding="utf-8")
    ways, strange = tmp_path / "ways.csv", tmp_path / "strange.csv"
    ways.write_text("from,to,seconds\ngate,hall,5\ngate,hall,50\n", encoding="utf-8")
    strange.write_text("from,to,seconds\nhal,gate,5\n", encoding="utf-8")
    for words, message in (
        (["--show", "--again"], "--show links nothing, so --again would change nothing"),
        (["--show", "--same", "0.5"], "--show links nothing, so --same would"),
        (["--confirm", "1", "--transit", str(ways)], "--confirm links nothing, so --transit would"),
        (["--transit", str(ways)], "ways.csv: line 3: this way is given twice. Expected"),
        (["--transit", str(strange)], "yard. Expected from,to"),
        (["--truth", str(table)], f"line {len(rows) + 2}: Expected a CSV table"),
        (["--merge", "1", "1"], "cannot be merged with itself"),
        (["--confirm", "0"], "There is no person 0"),
        (["--truth", str(strange)], "strange.csv has no column camera. Expected a CSV table"),
        (["--merge", "1", "2", "--undo"], "Give one at a time"),
        (["--undo", "--again"], "links nothing"),
        (["--same", "0.1"], "unsure <= same"),
        (["--undo"], "no decision to undo"),
        (["--show", "--truth", str(tmp_path / "none.csv")], "cannot be read"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["link", place, *words])
        assert end.value.code == 2
        told = capsys.readouterr().err
        assert message in told
        assert len(told.strip().splitlines()) == 1
    other = create_gallery(tmp_path / "new", LAYOUT, MODEL)
    other.add(looks(0, 0), [NewEntry("a.jpg", 0, track="a")], model=MODEL.fingerprint)
    other.close()
    with pytest.raises(SystemExit):
        main(["link", str(tmp_path / "new"), "--truth", str(table)])
    table.write_text("camera,track,person\n0,a,1\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["link", str(tmp_path / "new"), "--show", "--truth", str(table)])
    assert "no journeys to compare" in capsys.readouterr().err
    with open_gallery(tmp_path / "new") as other:
        assert read_journeys(other).unlinked == 1, "a truth that cannot be read is told before anything is linked"


# Against the truth of videos


def test_the_truth_of_watched_videos(tmp_path: Path) -> None:
    """Tracks whose paths tell frame and box, as 'crosscam watch' writes them."""
    folder = tmp_path / "videos"
    cameras, faces = ("gate", "hall"), looks(4, 7)
    (folder / "gate" / "gt").mkdir(parents=True)
    (folder / "hall" / "gt").mkdir(parents=True)
    text = "".join(f'[[camera]]\nname = "{name}"\nsource = "{name}.mp4"\nframe_rate = 2.0\n' for name in cameras)
    (folder / "cameras.toml").write_text(text, encoding="utf-8")
    gallery = create_gallery(tmp_path / "g", LAYOUT, MODEL)
    for camid, camera in enumerate(cameras):
        lines = []
        for pid in range(1, 5):
            lines += [f"{frame + 1},{pid},{100 * pid},50,40,100,1,1,1.0\n" for frame in range(10)]
            path = f"{camera}.mp4#t=2.000&xywh={100 * pid + 2},52,40,100&frame=4&seen=-1.5,2.000"
            entry = NewEntry(path, camid, None, START + 100 * camid + 2.0, f"{pid}", camera)
            gallery.add(faces[pid : pid + 1], [entry], model=MODEL.fingerprint)
        (folder / camera / "gt" / "gt.txt").write_text("".join(lines), encoding="utf-8")
    link_gallery(gallery, LinkOptions(distance=0.5))
    found = read_journeys(gallery)
    assert {(t.start, t.end) for p in found.people for t in p.tracks} == {
        (START + 0.5, START + 4.0),
        (START + 100.5, START + 104.0),
    }
    scores = score_journeys(gallery, found, folder)
    # Of ten frames of each person at each camera, the tracks last from frame 1 to frame 8.
    assert scores.idf1 == pytest.approx(2 * 64 / (80 + 64))
    assert (scores.idp, scores.link_recall, scores.people) == (1.0, 1.0, 4)
    gallery.update([1], path="gate.mp4#t=2.000&xywh=500,52,40,100&frame=4&seen=-1.5,2.000")
    scores = score_journeys(gallery, found, folder)
    assert scores.idp < 1
    assert (scores.people, scores.strange, scores.absent) == (4, 0, 1)
    (folder / "hall" / "gt" / "gt.txt").unlink()
    with pytest.raises(DataError, match=r"gt.txt cannot be read"):
        score_journeys(gallery, found, folder)
    gallery.close()


def test_a_track_that_begins_with_the_video_does_not_begin_before_it() -> None:
    seconds = 0.49962  # rounded up in the path
    path = str(Fragment("/v.mp4", seconds, (1, 2, 3, 4), 15, (0.0, 3.17)))
    entry = Entry(1, path, 0, None, START + seconds, "t", START)
    assert span([entry]) == (START, pytest.approx(START + 3.17, abs=0.002))


def test_other_paths_tell_no_fragment() -> None:
    for path in ("a.jpg", "a.mp4#t=1&xywh=1,2,3", "a#t=1&seen=x,y", "#t"):
        assert Fragment.read(path) is None
    found = Fragment.read("a.mp4#t=clock:2026-11-24T08:30:04.920Z&xywh=1,2,3,4&frame=7&seen=-1.5,0.000")
    assert found is not None
    assert (found.frame, found.box, found.live) == (7, (1, 2, 3, 4), True)
    assert (found.seen[0] - found.seconds, found.seen[1] - found.seconds) == pytest.approx((-1.5, 0.0))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("people/gate/0001_c1.jpg", "0001_c1.jpg"),
        ("C:\\people\\0001.jpg", "0001.jpg"),
        ("/videos/hall.mp4#t=4.920&xywh=310,88,64,171&frame=123&seen=-1.000,2.000", "hall.mp4, 4.92 s"),
        ("rtsp://host/1#t=clock:2026-11-24T08:30:04.920Z&xywh=1,2,3,4&frame=7&seen=-1.5,0.000", "1"),
        ("", ""),
    ],
)
def test_pages_call_a_crop_by_its_video_and_time(path: str, shown: str) -> None:
    assert shown_name(path) == shown


@pytest.mark.parametrize(
    ("times", "span"),
    [([], None), ([4.0, 1.5], (1.5, 4.0)), ([4.4, START, START + 9.0], (START, START + 9.0)), ([-2.0], (-2.0, -2.0))],
)
def test_dates_and_times_of_a_video_have_no_common_span(times: list[float], span: tuple[float, float] | None) -> None:
    assert clock_span(times) == span


def test_a_timeline_has_one_clock() -> None:
    yard = TrackSeen(1, 0, "yard", "a", 0.5, 2.5, (1,), 1)
    gate = TrackSeen(2, 1, "gate", "b", START, START + 5.0, (2,), 2)
    drawn = str(timeline(Person(1, (yard, gate), (None, None))))
    assert "gate" in drawn
    assert "yard" not in drawn


def test_few_tracks_are_judged_by_the_calibration_that_came_with_the_network(tmp_path: Path) -> None:
    """Two tracks, one at either camera: nothing in the gallery tells what their distance means."""
    shipped = Calibration.from_json((run_folder(Path("rrid-mini")) / "calibration.json").read_text(encoding="utf-8"))
    layout: Layout = (Block("p2.global", 0, 4, 2, "global", (0.0, 1.0)),)
    for fingerprint, people in ((shipped.origin.model_fingerprint, 1), ("0123456789abcdef", 2)):
        with create_gallery(tmp_path / fingerprint, layout, ModelIdentity(fingerprint, "rrid-mini")) as gallery:
            rows = np.array([[1, 0, 0, 0], [0.75, (1 - 0.75**2) ** 0.5, 0, 0]], np.float32)  # 0.71 apart
            entries = [NewEntry(f"{c}.jpg", c, None, float(c), "t", f"camera {c}") for c in (1, 2)]
            gallery.add(rows, entries, [None, None], model=fingerprint)
            run = link_gallery(gallery)
            found = read_journeys(gallery)
        assert len(found.people) == people
        assert run.told.startswith("Not calibrated")
        assert ("there are few tracks: distances" in run.told) == (people == 1)
        assert len(found.proposals) == people - 1


def test_few_tracks_of_a_network_without_calibration_are_compared_with_each_other(tmp_path: Path) -> None:
    """Whatever distances mean to the network: once 0.5 is far and 0.2 near, once 1.4 is far and 0.8 near."""
    layout: Layout = (Block("p2.global", 0, 5, 2, "global", (0.0, 1.0)),)
    for name, far, near in (("compact", 0.5, 0.2), ("wide", 1.4, 0.8)):
        products = np.full((4, 4), 1 - far**2 / 2)
        products[0, 1] = products[1, 0] = 1 - near**2 / 2
        np.fill_diagonal(products, 1.0)
        values, vectors = np.linalg.eigh(products)
        rows = np.zeros((4, 5), np.float32)
        rows[:, :4] = vectors * np.sqrt(np.maximum(values, 0.0))
        with create_gallery(tmp_path / name, layout, ModelIdentity("0123456789abcdef", name)) as gallery:
            entries = [NewEntry(f"{n}.jpg", 1 + n % 2, None, 10.0 * n, f"{n}", None) for n in range(4)]
            gallery.add(rows, entries, [None] * 4, model="0123456789abcdef")
            run = link_gallery(gallery)
            found = read_journeys(gallery)
        assert sorted(len(person.tracks) for person in found.people) == [1, 1, 2]
        assert "tracks of this gallery are apart" in run.told
