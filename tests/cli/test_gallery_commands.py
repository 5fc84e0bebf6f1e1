"""``crosscam gallery``: every verb once, on a tiny network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crosscam.data.datasets.readers import read_dataset
from crosscam.gallery import ModelIdentity, NewEntry, Where, create_gallery, open_gallery
from crosscam.gallery.source_network import matching_extractor
from crosscam.inference.extractor import Extractor
from crosscam.recipes.checkpoint import load_recipe, save_recipe

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def filled(crosscam: Run, place: Path) -> Path:
    """A working folder with a gallery ``g`` of the drawn dataset."""
    assert crosscam("gallery create g run")[0] == 0
    status, _, err = crosscam("gallery add g run people")
    assert status == 0, err
    return place


def as_json(answer: tuple[int, str, str]) -> dict[str, object]:
    """What a command told, as JSON."""
    assert answer[0] == 0, answer[2]
    found: dict[str, object] = json.loads(answer[1])
    return found


def test_create_add_search(crosscam: Run, filled: Path) -> None:
    dataset = read_dataset(filled / "people")
    images = [s for s in dataset.gallery if s.pid != -1]
    told = as_json(crosscam("gallery add g run people --subset all --json"))
    every = len(dataset.train) + len(dataset.query) + len(images)
    assert told == {"added": every - len(images), "known": len(images), "damaged": [], "entries": every}

    query = dataset.query[0]
    hits = json.loads(crosscam(f"gallery search g run {query.path} --k 4 --json")[1])
    assert [hit["path"] for hit in hits][:1] == [query.path.as_posix()]
    assert hits[0]["distance"] == pytest.approx(0, abs=1e-3)
    assert sum(hits[1]["contributions"].values()) == pytest.approx(hits[1]["distance"] ** 2)

    extractor = Extractor.load(filled / "run")
    rows = extractor([s.path for subset in dataset.subsets.values() for s in subset if s.pid != -1])
    distances = np.sort(np.linalg.norm(rows - extractor([query.path]), axis=1))
    np.testing.assert_allclose([hit["distance"] for hit in hits], distances[:4], atol=2e-3)

    two = f"{query.path} {dataset.query[1].path}"
    hits = json.loads(crosscam(f"gallery search g run {two} --cameras 2 --not-pids {query.pid} --k 99 --json")[1])
    assert {hit["camid"] for hit in hits} == {2}
    assert query.pid not in {hit["pid"] for hit in hits}


def test_an_image_of_two_subsets_is_added_once_and_other_labels_are_told(crosscam: Run, place: Path) -> None:
    name = read_dataset(place / "people").query[0].path.relative_to(place).as_posix()
    table = place / "t.csv"
    table.write_text(f"path,pid,camid,split\n{name},7,1,query\n{name},7,1,gallery\n")
    assert crosscam("gallery create h run")[0] == 0
    told = as_json(crosscam("gallery add h t.csv --subset all --json"))
    assert (told["added"], told["entries"]) == (1, 1)
    status, _, err = crosscam("gallery add h t.csv")
    assert (status, "has another" in err) == (0, False)
    table.write_text(f"path,pid,camid,time\n{name},8,1,12\n")
    status, _, err = crosscam("gallery add h t.csv --subset train")
    assert status == 0
    assert "of 1 of the images that were there the gallery has another identity, camera, time or track" in err
    with open_gallery(place / "h") as gallery:
        assert [(e.pid, e.time) for e in gallery.entries()] == [(7, None)]


def test_search_as_a_table_and_as_a_page(crosscam: Run, filled: Path) -> None:
    query = read_dataset(filled / "people").query[0].path
    options = "--k 3 --parts torso=2,feet=0 --rerank 10 --html a/b.html"
    status, out, err = crosscam(f"gallery search g run {query} {options}")
    assert status == 0, err
    assert "distance" in out
    page = (filled / "a/b.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('<li class="tile"') == 3
    assert page.count("data:image/jpeg") == 4
    assert "re-ranked" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_mirror_pass_is_the_gallerys(crosscam: Run, place: Path) -> None:
    assert crosscam("gallery create h run --no-flip")[0] == 0
    assert crosscam("gallery add h run people")[0] == 0
    dataset = read_dataset(place / "people")
    plain = Extractor.load(place / "run", flip=False)([dataset.gallery[0].path])
    with open_gallery(place / "h") as gallery:
        found = gallery.search(plain, 1, model=gallery.model.fingerprint)[0][0]
        assert found.distance < 1e-3


def test_tracks_that_another_table_continues_are_told(crosscam: Run, place: Path) -> None:
    """A tracker that begins anew gives a track of yesterday the same name."""
    names = [s.path.relative_to(place).as_posix() for s in read_dataset(place / "people").gallery[:3]]
    head = "path,camera,time,track\n"
    (place / "one.csv").write_text(f"{head}{names[0]},gate,2026-11-24 08:00,1\n")
    assert crosscam("gallery create h run")[0] == 0
    assert "continued" not in crosscam("gallery add h one.csv")[2]
    # The same table goes on, and so does its track.
    (place / "one.csv").write_text(f"{head}{names[0]},gate,2026-11-24 08:00,1\n{names[1]},gate,2026-11-24 08:01,1\n")
    assert "continued" not in crosscam("gallery add h one.csv")[2]
    (place / "two.csv").write_text(f"{head}{names[2]},gate,2026-11-25 17:00,1\n")
    status, _, err = crosscam("gallery add h two.csv")
    assert status == 0
    assert "note: 1 track is continued by images of another source than before (gate 1)." in err


def test_a_recipe_may_leave_the_mirror_pass_out(crosscam: Run, place: Path) -> None:
    """As rrid-mini-fast does: by default; a gallery that was made with it opens all the same."""
    recipe = load_recipe(place / "run")
    shutil.copytree(place / "run", place / "plain")
    save_recipe(place / "plain", replace(recipe, data=replace(recipe.data, mirror_pass=False)))
    by_default, mirrored = (Extractor.load(place / "plain", flip=flip) for flip in (None, True))
    assert (by_default.flip, mirrored.flip) == (False, True)
    assert by_default.fingerprint == Extractor.load(place / "run", flip=False).fingerprint
    assert crosscam("gallery create h plain")[0] == 0
    with open_gallery(place / "h") as gallery:
        assert gallery.model.fingerprint == by_default.fingerprint
    with create_gallery(place / "i", mirrored.layout, ModelIdentity(mirrored.fingerprint, "mirrored")) as gallery:
        assert matching_extractor(gallery, place / "plain").flip


def test_a_search_loads_the_network_once(crosscam: Run, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = Extractor.load.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Extractor], *arguments: object, **options: object) -> Extractor:
        loads.append(arguments)
        found: Extractor = load(cls, *arguments, **options)
        return found

    monkeypatch.setattr(Extractor, "load", classmethod(counted))
    query = read_dataset(filled / "people").query[0].path
    assert crosscam(f"gallery search g run {query} --json")[0] == 0
    assert crosscam("gallery add g run people")[0] == 0
    assert len(loads) == 2


def test_adding_reads_no_entry_of_the_gallery(crosscam: Run, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entries(*_: object, **__: object) -> None:
        raise AssertionError("all entries were read")

    monkeypatch.setattr("crosscam.gallery.local.LocalGallery.entries", entries)
    told = as_json(crosscam("gallery add g run people --subset query --json"))
    assert told["added"] == told["entries"] - as_json(crosscam("gallery add g run people --json"))["known"]  # type: ignore[operator]


def test_others_write_while_images_are_described(crosscam: Run, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [s.path for s in read_dataset(filled / "people").query][:6]
    cameras = ("south", "south", "north", "yard", "yard", "east")
    rows = [f"{path},5,{camera},gallery" for path, camera in zip(images, cameras, strict=True)]
    (filled / "t.csv").write_text("\n".join(("path,pid,camid,split", *rows)) + "\n")
    monkeypatch.setattr("crosscam.gallery.filling.IMAGES_AT_ONCE", 2)
    describe, added = Extractor.__call__, []
    with open_gallery(filled / "g") as before:
        highest = max(camid for camid, _ in before.info().cameras)

    def meanwhile(self: Extractor, *arguments: Any, **options: Any) -> Any:
        with open_gallery(filled / "g", write=True) as gallery:
            row = gallery.descriptors(gallery.ids()[:1])
            if not added:  # numbers that the table's cameras were to have
                entries = [NewEntry("watched/1", highest + 1, camera="gate"), NewEntry("watched/2", 77, camera="yard")]
                added.extend(gallery.add(row.repeat(2, 0), entries, model=gallery.model.fingerprint))
        assert "is being added to" in crosscam("gallery add g run people --subset query")[2]
        return describe(self, *arguments, **options)

    monkeypatch.setattr(Extractor, "__call__", meanwhile)
    monkeypatch.setattr("crosscam.cli.gallery_contents.PATIENCE", 0.0)
    assert as_json(crosscam("gallery add g run t.csv --json"))["added"] == 6
    with open_gallery(filled / "g") as gallery:
        assert [e.camera for e in gallery.entries()[-6:]] == [*cameras]
        names = gallery.camera_names()
    assert (names[highest + 1], names[77], len(names)) == ("gate", "yard", 5)


def test_a_number_that_somebody_elses_camera_got_meanwhile_is_refused(
    crosscam: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosscam.gallery.filling.IMAGES_AT_ONCE", 1)
    assert crosscam("gallery create h run")[0] == 0
    describe = Extractor.__call__

    def meanwhile(self: Extractor, *arguments: Any, **options: Any) -> Any:
        with open_gallery(filled / "h", write=True) as gallery:
            if len(gallery) == 1:
                entry = NewEntry("watched", 2, camera="gate")
                gallery.add(gallery.descriptors(gallery.ids()), [entry], model=gallery.model.fingerprint)
        return describe(self, *arguments, **options)

    monkeypatch.setattr(Extractor, "__call__", meanwhile)
    status, _, err = crosscam("gallery add h run people")
    assert (status, "Camera 2 of these images would be 'gate'" in err) == (2, True)
    with open_gallery(filled / "h") as gallery:
        assert [e.path for e in gallery.entries(Where(camids=(2,)))] == ["watched"]


def test_images_of_nobody_known(crosscam: Run, filled: Path) -> None:
    folder = filled / "unknown"
    folder.mkdir()
    for number in (1, 2):
        Image.new("RGB", (20, 40), (90 * number, 10, 10)).save(folder / f"{number}_cam3.png")
    (folder / "3_cam3.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("x")
    add = "gallery add g run unknown --unlabelled"
    status, _, err = crosscam(f"{add} --camids _cam([0-9])")
    assert status == 2
    assert "3_cam3.png is not an image" in err
    told = as_json(crosscam(f"{add} --camids _cam([0-9]) --skip-damaged --json"))
    assert told["added"] == 2
    assert [Path(d["path"]).name for d in told["damaged"]] == ["3_cam3.png"]  # type: ignore[attr-defined, index]
    with open_gallery(filled / "g") as gallery:
        new = gallery.entries()[-1]
        assert (new.pid, new.camid) == (None, 3)
        thumbnail = gallery.thumbnails([new.id])[0]
        assert thumbnail is not None
        assert thumbnail.startswith(b"\xff\xd8")


def test_update_forget_expire_compact(crosscam: Run, filled: Path) -> None:
    total = as_json(crosscam("gallery info g --json"))["entries"]
    assert as_json(crosscam("gallery update g --ids 1 2 --pid 77 --track t --json")) == {"updated": 2}
    assert as_json(crosscam("gallery forget g --pids 77 --json")) == {"forgotten": 2, "entries": int(str(total)) - 2}
    assert as_json(crosscam("gallery info g --json"))["wiped"] == 2
    assert int(str(as_json(crosscam("gallery compact g --json"))["bytes"])) > 0
    assert as_json(crosscam("gallery verify g --json"))["sound"] is True
    assert as_json(crosscam("gallery expire g --keep 30d --json"))["forgotten"] == 0
    assert as_json(crosscam("gallery expire g --keep 0s --json"))["entries"] == 0
    assert "Nothing says what to forget" in crosscam("gallery forget g")[2]
    assert "Nothing to change" in crosscam("gallery update g --ids 1")[2]


def test_a_misspelled_name_is_not_forgotten_in_silence(crosscam: Run, filled: Path) -> None:
    total = as_json(crosscam("gallery info g --json"))["entries"]
    assert as_json(crosscam("gallery update g --ids 1 2 --pid 77 --track t --json")) == {"updated": 2}
    strange = {
        "--pids 77 76": "identity 76",
        "--tracks tt": "track 'tt'",
        "--ids 1 9999": "entry 9999",
        "--cameras 99": "camera number 99",
        "--cameras 1 --not-pids 76": "identity 76",
        "--time-to 2d": "No entry has a time",
    }
    for option, name in strange.items():
        status, out, err = crosscam(f"gallery forget g {option}")
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert name in err
    assert as_json(crosscam("gallery info g --json"))["entries"] == total
    assert as_json(crosscam("gallery forget g --pids 77 --tracks t --json"))["forgotten"] == 2


def test_a_search_and_an_export_tell_of_conditions_that_no_entry_has(crosscam: Run, filled: Path) -> None:
    query = read_dataset(filled / "people").query[0].path
    for option, told in (
        ("--time-from 2026-11-24", "No entry has a time"),
        ("--tracks tt", "No entry has the track 'tt'."),
        ("--time-from 9 --time-to 8", "No time is from 9 to 8 s, which is earlier."),
        ("--cameras 1 99", "No entry has the camera number 99."),
        ("--not-pids 7777", "No entry has the identity 7777."),
    ):
        for command in (f"gallery search g run {query}", "gallery export g e.npz"):
            status, _, err = crosscam(f"{command} {option}")
            assert (status, err.count(f"note: {told}")) == (0, 1), err
    assert "note: No" not in crosscam(f"gallery search g run {query} --cameras 1")[2]


def test_times_of_a_video_are_not_taken_for_dates(crosscam: Run, filled: Path) -> None:
    told = crosscam("gallery expire g --by time --keep 30d")[2]
    assert "entries have no time and never expire by it." in told
    assert crosscam("gallery update g --ids 1 2 --time 4.5")[0] == 0
    for command in ("expire g --by time --keep 30d", "forget g --time-to 2026-11-24"):
        status, _, err = crosscam(f"gallery {command}")
        assert (status, len(err.splitlines())) == (2, 1)
    assert "note: No entry has a date" in crosscam("gallery export g e.npz --time-to 2026-11-24")[2]
    assert crosscam("gallery update g --ids 1 --time 2026-11-24")[0] == 0
    for command in ("expire g --by time --keep 1s", "forget g --time-to 2026-11-25"):
        status, _, err = crosscam(f"gallery {command}")
        assert (status, "1 entry has a time that is not a date, such as entry 2" in err) == (2, True), err
    assert as_json(crosscam("gallery forget g --time-from 2026-11-23 --time-to 2026-11-25 --json"))["forgotten"] == 1
    assert as_json(crosscam("gallery forget g --time-to 5 --json"))["forgotten"] == 1


def test_info_verify_export_backup(crosscam: Run, filled: Path) -> None:
    status, out, _ = crosscam("gallery info g")
    assert status == 0
    assert "demo in run, fingerprint" in out
    told = as_json(crosscam("gallery export g out.npz --cameras 1 --json"))
    assert len(np.load(filled / "out.npz")["descriptor"]) == told["entries"]
    entries = as_json(crosscam("gallery info g --json"))["entries"]
    assert as_json(crosscam("gallery backup g copy --json"))["entries"] == entries
    assert "copy is taken" in crosscam("gallery backup g copy")[2]
    rows = filled / "copy/segments/000001.rows"
    data = bytearray(rows.read_bytes())
    data[0] ^= 1
    rows.write_bytes(data)
    status, out, _ = crosscam("gallery verify copy")
    assert status == 1
    assert "checksum" in out


def test_what_is_refused(crosscam: Run, filled: Path) -> None:
    image = read_dataset(filled / "people").query[0].path
    for command, told in (
        ("gallery create g run", "g is taken"),
        ("gallery info nowhere", "No gallery at nowhere"),
        (f"gallery search g run {image} --parts arm=1", "No body part or block 'arm'"),
        (f"gallery search g run {image} --parts arm", "is not a weight"),
        ("gallery search g run", "No image to search for"),
        ("gallery expire g --keep soon", "is not a time span"),
        ("gallery add g run people --camids 3", "--camids means nothing"),
        ("gallery info milvus://nowhere", "not a valid gallery address"),
    ):
        status, _, err = crosscam(command)
        assert (status, told in err) == (2, True), err
        assert err.count("\n") == 1 + err.count("note: ")


def test_another_model_is_refused(crosscam: Run, filled: Path, tiny: str) -> None:
    assert crosscam(f"train demo --data people --out other {tiny} --set train.seed=5")[0] == 0
    status, _, err = crosscam("gallery add g other people")
    assert status == 2
    assert "g was built with the model demo in run (fingerprint " in err
    assert "(demo in other)" in err


def named_table(place: Path, file: str, names: str, first: int = 0) -> list[str]:
    """A table of images of the dataset, one for each letter, which is its identity's name."""
    images = sorted((place / "people" / "bounding_box_train").glob("*.jpg"))[first : first + len(names)]
    rows = [f"{image},{name},1,gallery" for image, name in zip(images, names, strict=True)]
    (place / file).write_text("\n".join(("path,pid,camid,split", *rows)) + "\n")
    return rows


def pids_in(place: Path) -> list[int | None]:
    with open_gallery(place / "g") as gallery:
        return [entry.pid for entry in gallery.entries()]


def test_names_of_two_tables_are_not_merged(crosscam: Run, place: Path) -> None:
    assert crosscam("gallery create g run")[0] == 0
    rows = named_table(place, "a.csv", "xyx")
    assert crosscam("gallery add g run a.csv")[0] == 0
    assert pids_in(place) == [1, 2, 1]
    for file, names, why in (("b.csv", "uv", "the identities of b"), ("c.csv", "19", "the gallery's identities were")):
        named_table(place, file, names, first=3)
        status, _, err = crosscam(f"gallery add g run {file}")
        assert (status, len(err.splitlines()[-1:])) == (2, 1)
        assert "1 identity would get numbers" in err or "2 identities would get numbers" in err
        assert why in err
        assert pids_in(place) == [1, 2, 1]
    # The same table goes on, also with numbers that nobody has; a name that pushes the others along is told of.
    more = named_table(place, "z.csv", "z", first=5)[0]
    (place / "a.csv").write_text("\n".join(("path,pid,camid,split", *rows, more)) + "\n")
    assert crosscam("gallery add g run a.csv")[0] == 0
    named_table(place, "d.csv", "78", first=3)
    assert crosscam("gallery add g run d.csv")[0] == 0
    assert pids_in(place) == [1, 2, 1, 3, 7, 8]
    (place / "a.csv").write_text("\n".join(("path,pid,camid,split", *rows, more.replace("z,1,", "w,1,"))) + "\n")
    status, _, err = crosscam("gallery add g run a.csv")
    assert (status, "3 identities would get numbers of others in the gallery (1, 2, 3)" in err) == (2, True)
    assert "means nothing for" in crosscam("gallery add g run b.csv --unlabelled --camids 0")[2], "it has camids"
    assert crosscam("gallery add g run b.csv --unlabelled")[0] == 0, "then nobody gets a number"


def test_whole_numbers_of_two_tables_are_the_same_people(crosscam: Run, place: Path) -> None:
    assert crosscam("gallery create g run")[0] == 0
    named_table(place, "a.csv", "12")
    named_table(place, "b.csv", "23", first=2)
    assert crosscam("gallery add g run a.csv")[0] == 0
    assert crosscam("gallery add g run b.csv")[0] == 0
    assert pids_in(place) == [1, 2, 2, 3]
    # Names after numbers.
    named_table(place, "c.csv", "pq", first=4)
    assert crosscam("gallery add g run c.csv")[0] == 2
    assert pids_in(place) == [1, 2, 2, 3]


def test_images_that_changed_since_are_told_of(crosscam: Run, filled: Path) -> None:
    status, _, err = crosscam("gallery add g run people")
    assert (status, "changed" in err) == (0, False)
    image = sorted((filled / "people/bounding_box_test").glob("*.jpg"))[1]
    Image.new("RGB", (32, 64)).save(image)
    status, _, err = crosscam("gallery add g run people")
    assert status == 0
    assert "note: 1 of the images that were there have changed on the disk since" in err
    assert image.name in err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("gallery forget g --time-from nan", "--time-from: 'nan' is not a valid time"),
        ("gallery search g run {image} --time-to nan", "--time-to: 'nan' is not a valid time"),
        ("gallery search g run {image} --parts torso=1e308", "The weight of torso is 1e+308"),
        ("explain run {image} {image} --weight *=1e300", "expected a number from 0 to"),
        (
            "explain run {image} {image} --weight *=1 --weight *=2",
            "'*=2' is not a weight. Expected NAME=NUMBER, each name",
        ),
        ("export run --batch ²", "--batch ²: expected a number of images"),
        ("export run --batch " + "9" * 5000, "expected a number of images"),
        ("export run --max-drop nan", "--max-drop is nan"),
        ("export run --max-drop -1", "--max-drop is -1.0"),
    ],
)
def test_numbers_that_mean_nothing_are_one_line(crosscam: Run, filled: Path, command: str, told: str) -> None:
    image = min((filled / "people/query").glob("*.jpg"))
    status, out, err = crosscam(command.format(image=image))
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert told in err


def test_tracks_of_another_tracker_are_a_table_without_pid(crosscam: Run, place: Path) -> None:
    people = read_dataset(place / "people")
    rows = [
        (str(s.path), "gate" if s.camid == 1 else "yard", f"2026-11-30T10:{s.camid:02}:{s.pid % 60:02}", f"t{s.pid}")
        for s in (*people.query, *people.gallery)
    ]
    tracks = {(camera, track) for _, camera, _, track in rows}
    (place / "crops.csv").write_text("\n".join(map(",".join, [("path", "camera", "time", "track"), *rows])) + "\n")
    assert crosscam("gallery create g run")[0] == 0
    assert as_json(crosscam("gallery add g crops.csv --json"))["added"] == len(rows)
    info = as_json(crosscam("gallery info g --json"))
    assert (info["people"], info["tracks"]) == (0, len(tracks))
    status, out, err = crosscam("link g")
    assert status == 0, err
    assert f"{len(tracks)} new tracks" in err
    assert "gate" in out


def test_options_that_mean_nothing_for_a_table_are_named_as_they_were_given(crosscam: Run, place: Path) -> None:
    image = min((place / "people/query").glob("*.jpg"))
    (place / "crops.csv").write_text(f"path,camid\n{image},1\n")
    assert crosscam("gallery create g run")[0] == 0
    for option in ("--camids 3", "--camera gate"):
        status, _, err = crosscam(f"gallery add g crops.csv {option}")
        assert (status, f"crosscam: {option.split()[0]} means nothing for" in err) == (2, True)
