"""What is not as it was added is never taken for an answer: fields, descriptors, images, files, the database."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_gallery import LAYOUT, MODEL, Filled, filled, some_descriptors, some_entries

from crosscam.errors import GalleryError
from crosscam.gallery import Gallery, NewEntry, Where, open_gallery
from crosscam.gallery.local import LocalGallery
from crosscam.gallery.store import FORMER_INDEX

F = MODEL.fingerprint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Filled]:
    """A closed gallery with feedback; leave its files alone."""
    place = tmp_path_factory.mktemp("made") / "g"
    gallery, data = filled(place)
    gallery.set_document("feedback", [said(5, 9), said(6, 50)])
    gallery.close()
    return place, data


@pytest.fixture
def place(made: tuple[Path, Filled], tmp_path: Path) -> Path:
    """A gallery of one's own."""
    return Path(shutil.copytree(made[0], tmp_path / "g"))


def said(query: int, entry: int) -> dict[str, object]:
    """Feedback."""
    return {"query": f"e{query}", "entry": entry, "same": True, "who": "a", "when": "b"}


def change(place: Path, *statements: str) -> None:
    """Change the database behind the gallery's back."""
    with closing(sqlite3.connect(place / "gallery.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def flip(file: Path, at: int) -> None:
    """Another bit in a file."""
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "change_to",
    ["path = 'other.jpg'", "pid = 3", "pid = NULL", "camid = camid + 1", "time = time + 1", "track = 2", "added = 1"],
)
def test_a_changed_field_is_found_and_not_copied(place: Path, tmp_path: Path, change_to: str) -> None:
    change(place, f"UPDATE entries SET {change_to} WHERE id = 100")
    with open_gallery(place) as gallery:
        (problem,) = gallery.verify().problems
        assert problem.startswith("Entry 100: its path, camera, identity, time, track")
        with pytest.raises(GalleryError, match="is damaged, and was not copied: Entry 100"):
            gallery.backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with open_gallery(place, write=True) as gallery:
        gallery.update([100], camid=1)
        assert gallery.verify().sound


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE tracks SET name = 'elsewhere' WHERE name = 'track 3'", "Entry 37"),
        ("UPDATE documents SET value = replace(value, '50', '51')", "The document feedback"),
        ("UPDATE meta SET value = replace(value, 'aaaa', 'bbbb') WHERE key = 'model'", "The gallery's model"),
        ("DELETE FROM entries WHERE id = 8", "row 7 is nobody's"),
        ("UPDATE entries SET segment = 77 WHERE id = 8", "a segment that is not counted"),
    ],
)
def test_other_changes_of_the_database_are_found(place: Path, statement: str, told: str) -> None:
    change(place, statement)
    with open_gallery(place) as gallery:
        assert told in " ".join(gallery.verify().problems)


def test_a_search_does_not_answer_from_damaged_descriptors(made: tuple[Path, Filled], place: Path) -> None:
    data = made[1]
    flip(place / "segments" / "000002.rows", 200)
    with open_gallery(place, write=True) as gallery:
        for _ in range(2):
            with pytest.raises(GalleryError, match=r"000002.rows: descriptors are not what was added.*gallery verify"):
                gallery.search(data.descriptors[:1], model=F)
        for pooled in (True, False):
            with pytest.raises(GalleryError, match="not what was added"):
                gallery.search(data.descriptors[:2], model=F, pool_tracks=pooled)
        with pytest.raises(GalleryError, match="the descriptor of entry 35 is not what was added"):
            gallery.descriptors([1, 35])
        gallery.forget(Where(ids=(36,)))
        with pytest.raises(GalleryError, match="entry 35 is damaged"):
            gallery.compact()
        # As the message says.
        gallery.forget(Where(ids=(35,)))
        assert len(gallery.search(data.descriptors[:1], 200, model=F)[0]) == 118
        gallery.add(some_descriptors(3, 5), some_entries(3, 900), model=F)
        assert gallery.verify().sound
        gallery.compact()
        assert gallery.verify().sound
        assert len(gallery.search(data.descriptors[:1], 200, model=F)[0]) == 121


def test_rows_that_changed_places_are_noticed(made: tuple[Path, Filled], place: Path) -> None:
    file = place / "segments" / "000001.rows"
    data = bytearray(file.read_bytes())
    size = 4 * 19
    data[: 2 * size] = data[size : 2 * size] + data[:size]
    file.write_bytes(data)
    with open_gallery(place) as gallery, pytest.raises(GalleryError, match="not what was added"):
        gallery.search(made[1].descriptors[:1], model=F)


def test_sums_follow_every_change(tmp_path: Path) -> None:
    """A reader checks each state that a writer makes; a false alarm would be an error here."""
    writer, data = filled(tmp_path / "g")
    generator = random.Random(0)
    with open_gallery(tmp_path / "g") as reader:
        for step in range(40):
            what = generator.choice(("add", "forget", "update", "compact"))
            if what == "add":
                writer.add(some_descriptors(7, step), some_entries(7, 1000 + 7 * step), model=F)
            elif what == "forget":
                writer.forget(Where(ids=tuple(generator.sample(writer.ids(), 5))))
            elif what == "update":
                writer.update(generator.sample(writer.ids(), 3), track=f"new {step}")
            else:
                writer.compact()
            for gallery in (reader, writer):
                assert len(gallery.search(data.descriptors[:1], 999, model=F)[0]) == len(writer)
            assert reader.verify().sound
    writer.close()


def test_a_damaged_thumbnail_is_not_shown(place: Path) -> None:
    flip(place / "segments" / "000003.thumbs", 70)
    with open_gallery(place) as gallery, pytest.raises(GalleryError, match=r"the thumbnail of entry \d+ is not what"):
        gallery.thumbnails(gallery.ids())


@pytest.mark.parametrize("name", ["000002.rows", "000002.thumbs"])
@pytest.mark.parametrize("damage", ["short", "flipped", "missing"])
def test_a_damaged_gallery_is_not_copied(place: Path, tmp_path: Path, name: str, damage: str) -> None:
    file = place / "segments" / name
    if damage == "short":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "flipped":
        flip(file, 100)
    else:
        file.unlink()
    (tmp_path / "copy").mkdir()
    with open_gallery(place) as gallery, pytest.raises(GalleryError, match=r"cut short|was not copied|is missing"):
        gallery.backup(tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_copy_holds_nobody_who_was_not_wiped_yet(made: tuple[Path, Filled], place: Path, tmp_path: Path) -> None:
    # As a writer leaves it that is killed after the commit of forgetting.
    change(
        place,
        "INSERT INTO wipes SELECT segment, row, thumb_at, thumb_size FROM entries WHERE id = 8",
        "DELETE FROM entries WHERE id = 8",
    )
    with open_gallery(place) as gallery:
        assert gallery.backup(tmp_path / "copy") == 119
    row, image = made[1].descriptors[7].tobytes(), made[1].thumbnails[7] or b""
    everything = b"".join(f.read_bytes() for f in (tmp_path / "copy").rglob("*") if f.is_file())
    assert row in (place / "segments" / "000001.rows").read_bytes()
    assert row not in everything
    assert image not in everything
    assert b"00007.jpg" not in everything


QUERY = some_descriptors(1)
READS: tuple[Callable[[Gallery, Path], object], ...] = (
    lambda gallery, _: gallery.search(QUERY, model=F),
    lambda gallery, _: gallery.search(QUERY, model=F, pool_tracks=True),
    lambda gallery, _: gallery.entries(),
    lambda gallery, _: gallery.info(),
    lambda gallery, _: gallery.get([3]),
    lambda gallery, _: gallery.descriptors([3]),
    lambda gallery, _: gallery.thumbnails([3]),
    lambda gallery, _: gallery.document("feedback"),
    lambda gallery, folder: gallery.backup(folder),
)
WRITES: tuple[Callable[[Gallery, Path], object], ...] = (
    lambda gallery, _: gallery.update([3], camid=2),
    lambda gallery, _: gallery.forget(Where(ids=(4,))),
    lambda gallery, _: gallery.compact(),
    lambda gallery, _: gallery.add(QUERY, some_entries(1), model=F),
)


def problems_of(act: Callable[[], object]) -> list[str]:
    """The message of a gallery's error; any other error is one of the test."""
    try:
        act()
    except GalleryError as error:
        return [str(error)]
    return []


def everything(place: Path, copy: Path, *, write: bool) -> list[str]:
    """All that can be done with a gallery: the problems that it tells."""
    with open_gallery(place, write=write) as gallery:
        found = list(gallery.verify().problems)
        for number, act in enumerate((*READS, *WRITES) if write else READS):
            found += problems_of(partial(act, gallery, copy / str(number)))
        return found


def test_every_error_of_a_damaged_database_is_one_line(made: tuple[Path, Filled], place: Path, tmp_path: Path) -> None:
    whole = (place / "gallery.sqlite").read_bytes()
    generator = random.Random(1)
    told: list[str] = []
    for step in range(60):
        data = bytearray(whole)
        if step % 4 == 0:
            del data[generator.randrange(len(data)) :]
        for _ in range(generator.choice((1, 20, 400)) if data else 0):
            data[generator.randrange(len(data))] = generator.randrange(256)
        shutil.rmtree(place)
        shutil.copytree(made[0], place)
        (place / "gallery.sqlite").write_bytes(data)
        for write in (False, True):
            found: list[str] = []
            copy = tmp_path / f"{step} {write}"
            found += problems_of(lambda: found.extend(everything(place, copy, write=write)))  # noqa: B023
            told += found
    assert len(told) > 100
    assert all("\n" not in text for text in told)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("UPDATE meta SET value = ? WHERE key = ?", (DEEP, "generation")),
        ("UPDATE meta SET value = ? WHERE key = ?", (DEEP, "format")),
        ("UPDATE meta SET value = ? WHERE key = ?", (DEEP, "crc")),
        ("UPDATE meta SET value = ? WHERE key = ?", (b"\xff", "layout")),
        ("DELETE FROM meta WHERE key = ?", ("model",)),
        ("UPDATE documents SET value = ?", (DEEP,)),
        ("UPDATE documents SET value = ?", (b"\xed\xa0\x80",)),
        ("UPDATE entries SET thumb_at = ? WHERE id = 5", (b"\xff\x00",)),
        ("UPDATE entries SET thumb_size = ? WHERE id = 5", ("many",)),
        ("UPDATE entries SET row_crc = ? WHERE id = 5", (b"\xff",)),
        ("UPDATE tracks SET name = ? WHERE code = 1", (b"\xff",)),
    ],
)
def test_values_of_another_kind_are_one_line(
    place: Path, tmp_path: Path, statement: str, values: tuple[object, ...]
) -> None:
    with closing(sqlite3.connect(place / "gallery.sqlite")) as connection, connection:
        connection.execute(statement, values)
    told: list[str] = []
    for write in (False, True):
        told += problems_of(lambda: told.extend(everything(place, tmp_path / f"{write}", write=write)))  # noqa: B023
    assert told
    assert all("\n" not in text for text in told)


def test_a_hit_that_is_not_what_was_kept_is_not_shown(made: tuple[Path, Filled], place: Path) -> None:
    data = made[1]
    change(place, "UPDATE entries SET pid = 3 WHERE id = 100")
    with open_gallery(place) as gallery:
        with pytest.raises(GalleryError, match=r"entry 100 is not what was kept \(checksum\).*gallery verify"):
            gallery.search(data.descriptors[99:100], model=F)
        with pytest.raises(GalleryError, match="entry 100 is not what was kept"):
            gallery.get([100])
        others = Where(not_ids=(100,))
        assert gallery.search(data.descriptors[99:100], model=F, where=others)[0]


def test_a_changed_document_is_no_answer(place: Path) -> None:
    change(place, "UPDATE documents SET value = replace(value, '50', '51')")
    with open_gallery(place, write=True) as gallery:
        with pytest.raises(GalleryError, match=r"the document feedback cannot be read: it is not what was kept"):
            gallery.document("feedback")
        # Whoever is to be forgotten is forgotten all the same.
        assert gallery.forget(Where(ids=(9,))) == 1


def test_nothing_is_cut_before_all_was_seen_to_be_there(place: Path) -> None:
    """A database that counts what is not there may not be the one that the files are of."""
    (place / "segments" / "000002.thumbs").unlink()
    behind = place / "segments" / "000001.rows"
    behind.write_bytes(behind.read_bytes() + b"behind the end")
    other = place / "segments" / "000009.rows"
    other.write_bytes(b"of no segment")
    with pytest.raises(GalleryError, match=r"000002.thumbs is missing"):
        open_gallery(place, write=True)
    assert behind.read_bytes().endswith(b"behind the end")
    assert other.exists()


def of_format_1(place: Path) -> None:
    """The same gallery as versions before it wrote it."""
    change(
        place,
        "ALTER TABLE entries DROP COLUMN entry_crc",
        "ALTER TABLE documents DROP COLUMN crc",
        "ALTER TABLE segments DROP COLUMN row_sum",
        "DELETE FROM meta WHERE key IN ('crc', 'writer')",
        "UPDATE meta SET value = '1' WHERE key = 'format'",
    )
    (place / FORMER_INDEX).write_bytes(b"means of people")
    (place / "lists.part").write_bytes(b"means of people")


def test_a_gallery_of_format_1_opens_and_gets_its_checksums(made: tuple[Path, Filled], place: Path) -> None:
    of_format_1(place)
    stale = json.dumps([said(5, 9), said(6, 700)])
    change(place, f"UPDATE documents SET value = '{stale}' WHERE name = 'feedback'")
    query = made[1].descriptors[:1]
    with open_gallery(place) as reader:
        expected = [(h.entry.id, h.distance) for h in reader.search(query, 200, model=F)[0]]
        assert (len(expected), reader.verify().problems) == (120, ())
        with open_gallery(place, write=True) as writer:
            assert writer.verify().sound
            assert writer.document("feedback") == [said(5, 9)], "what an earlier forget had left is gone"
        assert [(h.entry.id, h.distance) for h in reader.search(query, 200, model=F)[0]] == expected
        assert reader.verify().sound
    assert not (place / FORMER_INDEX).exists()
    assert not (place / "lists.part").exists()
    change(place, "UPDATE entries SET camid = 9 WHERE id = 5")
    flip(place / "segments" / "000002.rows", 200)
    with open_gallery(place) as reader:
        assert len(reader.verify().problems) == 2
        with pytest.raises(GalleryError, match="not what was added"):
            reader.search(query, model=F)


def test_a_damaged_gallery_of_format_1_does_not_answer_either(made: tuple[Path, Filled], place: Path) -> None:
    of_format_1(place)
    flip(place / "segments" / "000002.rows", 200)
    query = made[1].descriptors[:1]
    with open_gallery(place) as reader, pytest.raises(GalleryError, match="not what was added"):
        reader.search(query, model=F)
    with open_gallery(place, write=True) as writer:  # which does not vouch for it
        with pytest.raises(GalleryError, match="not what was added"):
            writer.search(query, model=F)
        writer.forget(Where(ids=(35,)))
        assert len(writer.search(query, 200, model=F)[0]) == 119


def test_names_that_are_no_utf_8_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        for entry in (NewEntry("a\udcff.jpg", 1), NewEntry("a.jpg", 1, track="t\udcff")):
            with pytest.raises(ValueError, match="UTF-8"):
                gallery.add(some_descriptors(2), [NewEntry("b.jpg", 1), entry], model=F)
        assert len(gallery) == 0
        np.testing.assert_array_equal(gallery.descriptors([]), np.empty((0, 16)))
