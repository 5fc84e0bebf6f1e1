"""The audit log, the uploads that are kept, feedback, and the search page's address."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from starlette.datastructures import QueryParams

from crosscam.errors import WebError
from crosscam.gallery import SearchOptions, open_gallery
from crosscam.gallery.answers import JUDGMENTS, Judgment, about_known, entry_of, with_new
from crosscam.report.hits import chance
from crosscam.web import audit, views
from crosscam.web.audit import AuditError, AuditLog
from crosscam.web.forms import read_form
from crosscam.web.remembered import State
from crosscam.web.search import Query, QueryStore, key_of


def test_audit_lines_are_whole_whoever_writes(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "a.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [log.write("me", "search", query="x" * 300, n=n) for _ in range(20)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 80
    assert {line["who"] for line in lines} == {"me"}
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600
    log.close()


def test_an_audit_line_is_on_the_disk_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "a.jsonl")
    synced: list[int] = []
    original = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    log.write("me", "search")
    assert synced == [(tmp_path / "a.jsonl").stat().st_size]
    log.close()


def test_audit_gives_the_last_lines_and_leaves_torn_ones_out(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "a.jsonl")
    for n in range(5):
        log.write("me", "search", n=n)
    with open(tmp_path / "a.jsonl", "a") as file:
        file.write('{"when": "20')
    assert [line["n"] for line in log.last(3)] == [4, 3, 2]
    log.close()
    AuditLog(tmp_path / "a.jsonl").close()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 6


def test_audit_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WebError, match="give --audit FILE"):
        AuditLog(tmp_path / "no" / "folder")
    log = AuditLog(tmp_path / "a.jsonl")

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(audit.os, "write", full)
    with pytest.raises(AuditError, match="No space left"):
        log.write("me", "search")
    log.close()


def test_the_audit_log_follows_its_name(tmp_path: Path) -> None:
    """Programs that change logs over rename the old one; somebody may delete it."""
    (tmp_path / "logs").mkdir()
    place = tmp_path / "logs" / "a.jsonl"
    log = AuditLog(place)
    log.write("me", "search", n=1)
    place.rename(tmp_path / "logs" / "old.jsonl")
    log.write("me", "search", n=2)
    assert [line["n"] for line in log.last(9)] == [2]
    place.unlink()
    assert log.last(9) == []
    log.write("me", "search", n=3)
    assert [line["n"] for line in log.last(9)] == [3]
    assert place.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(AuditError, match="nothing is answered"):
        log.write("me", "search", n=4)
    (tmp_path / "logs").mkdir()
    log.write("me", "search", n=5)
    assert [line["n"] for line in log.last(9)] == [5]
    log.close()


def query(key: str) -> Query:
    return Query(key, np.ones((1, 1), np.float32))


def test_uploads_are_few_and_go_after_a_while() -> None:
    now = [0.0]
    store = QueryStore(2, 10, lambda: now[0])
    for key in "abc":
        store.put(query(key))
    assert store.get("a") is None
    assert store.get("b") is not None
    store.put(query("d"))
    assert [store.get(k) is not None for k in "bcd"] == [True, False, True]
    now[0] = 9
    assert store.get("b") is not None
    now[0] = 15
    assert [store.get(k) is not None for k in "bd"] == [True, False]
    now[0] = 26
    store.get("x")
    assert len(store) == 0


def test_the_same_images_have_the_same_key() -> None:
    assert key_of([b"a", b"b"]) == key_of([b"b", b"a"]) != key_of([b"ab"])
    assert entry_of(key_of([b"a"])) is None
    assert entry_of("e12") == 12
    assert [entry_of(k) for k in ("e", "e1x", "12", "", "e²", "e" + "9" * 30)] == [None] * 6


def test_feedback_keeps_the_last_word() -> None:
    said = [Judgment("e1", 5, True, "a", "t0"), Judgment("p0", 5, False, "a", "t1")]
    said = list(with_new(said, Judgment("e1", 5, False, "b", "t2")))
    assert {(j.query, j.same, j.who) for j in said} == {("p0", False, "a"), ("e1", False, "b")}
    read, write = JUDGMENTS.read, JUDGMENTS.write
    assert read(json.loads(json.dumps(write(said)))) == tuple(said)
    assert with_new(said, said[0], clear=True) == (said[1],)
    assert {n for j in said for n in j.named} == {1, 5}
    assert about_known(said, {2, 5}.intersection) == (said[0],) if said[0].query == "p0" else (said[1],)
    assert about_known(said, {1}.intersection) == ()
    assert len(write(said * JUDGMENTS.limit)) == JUDGMENTS.limit
    assert read(["x", {"query": 1}, None]) == read(None) == read({}) == ()


def test_the_address_of_a_search(made: Path) -> None:
    with open_gallery(made) as gallery:
        info = gallery.info()
    form = read_form(QueryParams("q=e3&cam=2&cam=1&first=500&last=250&head=2&feet=0&torso=1&pool_tracks=1&page=3"))
    assert (form.first, form.last) == (250, 500)
    assert form.query_string() == "q=e3&cam=2&cam=1&first=250&last=500&head=2&feet=0&pool_tracks=1&page=3"
    assert read_form(QueryParams(form.query_string())) == form
    assert form.query_string(page=None, entry=9).endswith("pool_tracks=1&entry=9")
    options = form.options(info)
    assert info.times is not None
    low, high = info.times
    assert (options.where.time_from, options.where.time_to) == (low + (high - low) / 4, low + (high - low) / 2)
    assert options.weights == {"head": 2.0, "feet": 0.0}
    assert (form.start, options.k, options.rerank_first, options.pool_tracks) == (48, 24, 0, True)
    plain = read_form(QueryParams("q=e3")).options(info)
    assert plain == SearchOptions(k=24)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "q=",
        "q=../x",
        "q=e1&head=9",
        "q=e1&head=nan",
        "q=e1&cam=x",
        "q=e1&page=0",
        "q=e1&first=1e999",
        "q=" + "a" * 99,
    ],
)
def test_what_is_no_search(address: str) -> None:
    with pytest.raises(WebError):
        read_form(QueryParams(address))


def test_small_things_that_pages_show() -> None:
    assert views.moment(1_700_000_000.0) == "2023-11-14 22:13:20"
    assert (views.moment(61.5), views.moment(None)) == ("61.5 s", "–")
    assert views.moment(1e300).endswith(" s")
    assert (views.size(999), views.size(1_500_000), views.size(None), views.size(10**16)) == (
        "999 bytes",
        "1.5 MB",
        "unknown",
        "10000.0 TB",
    )
    assert (chance(0.99999), chance(1e-6), chance(0.5), chance(None)) == (
        "> 99.9 %",
        "< 0.1 %",
        "50.0 %",
        "",
    )


def test_the_state_is_at_hand_and_follows(made: Path) -> None:
    class Counted:
        asked = 0
        go = threading.Event()

        def info(self) -> int:
            self.asked += 1
            if self.asked > 1:
                assert self.go.wait(10)
            return self.asked

    now, gallery = [0.0], Counted()
    state = State(gallery, lambda: now[0])  # type: ignore[arg-type]
    assert [state.info(), state.info()] == [1, 1]
    now[0] = 10
    assert [state.info(), state.info()] == [1, 1]
    gallery.go.set()
    state.close()
    assert (state.info(), gallery.asked) == (2, 2)
    state.changed()
    assert state.info() == 3


def test_the_audit_log_of_a_gallery_is_no_part_of_it(place: Path) -> None:
    log = AuditLog(place / "audit.jsonl")
    log.write("me", "search")
    log.close()
    with open_gallery(place, write=True) as gallery:
        assert gallery.verify().sound
        gallery.compact()
    assert os.path.getsize(place / "audit.jsonl") > 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_the_audit_log_is_an_ordinary_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.write("anna", "search", entry=1)
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/full")
    for act in (lambda: log.write("anna", "search", entry=2), lambda: log.last(5)):
        with pytest.raises(AuditError):
            act()
    if kind != "folder":  # nor does a server begin with one
        with pytest.raises(WebError, match=r"not an ordinary file|No such device"):
            AuditLog(path)
    path.rmdir() if kind == "folder" else path.unlink()
    log.write("anna", "search", entry=3)
    assert [line["entry"] for line in log.last(5)] == [3]
    log.close()
