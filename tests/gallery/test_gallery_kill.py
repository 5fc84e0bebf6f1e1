"""Kill -9 of a writer at instants that nobody chose: what was acknowledged is there, and nothing happened in part.

``benchmarks/gallery_kill.py`` does it three hundred times, with a reader beside the writer and with commits that the
log has and its index has not, and reads every byte that is left; a few of its trials are here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_gallery import LAYOUT, MODEL, some_descriptors, some_entries

from crosscam.gallery.local import LocalGallery

HERE = Path(__file__).parent
BATCH = 20
# Adds a batch, then forgets half of it; tells what begins and what is acknowledged.
PROGRAM = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from small_gallery import MODEL, some_descriptors, some_entries
from crosscam.gallery import Where
from crosscam.gallery.local import LocalGallery
gallery = LocalGallery.open(Path(sys.argv[1]), write=True)
for batch in range(1000):
    first = {BATCH} * batch
    ids = tuple(range(first + 1, first + {BATCH} // 2 + 1))
    print("add", batch, flush=True)
    gallery.add(some_descriptors({BATCH}, batch), some_entries({BATCH}, first), model=MODEL.fingerprint)
    print("added", batch, flush=True)
    gallery.forget(Where(ids=ids))
    print("forgotten", batch, flush=True)
"""


def killed_after(folder: Path, lines: int) -> list[tuple[str, int]]:
    """What a writer told before it was killed, some moment after it had told that many lines."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    assert process.returncode < 0, "it was killed, not done"
    return [(what, int(batch)) for what, batch in (line.split() for line in told)]


@pytest.mark.parametrize("verbs", ["add forget expire", "compact update feedback"])
def test_a_killed_writer_with_a_reader_beside_it(verbs: str) -> None:
    """One kill, and three orphaned commits of each verb: of opening, of its first step, and of what follows it."""
    benchmark = HERE.parents[1] / "benchmarks" / "gallery_kill.py"
    command = [sys.executable, str(benchmark), "--kills", "1", "--orphans", "3", "--verbs", *verbs.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("lines", [4, 5, 9, 22])
def test_what_was_acknowledged_outlives_the_writer(tmp_path: Path, lines: int) -> None:
    folder = tmp_path / "g"
    LocalGallery.create(folder, LAYOUT, MODEL, segment_rows=32).close()
    told = killed_after(folder, lines)
    added = sum(what == "added" for what, _ in told)
    forgotten = sum(what == "forgotten" for what, _ in told)
    assert added >= 1
    with LocalGallery.open(folder, write=True) as gallery:
        assert gallery.verify().sound
        kept = gallery.ids()
        found = {batch: [i for i in kept if (i - 1) // BATCH == batch] for batch in range(added + 1)}
        assert sum(map(len, found.values())) == len(kept), "nothing came from nowhere"
        half, whole = BATCH // 2, BATCH
        assert all(len(found[b]) == half for b in range(forgotten)), "what is forgotten stays away"
        for batch in range(forgotten, added):
            assert len(found[batch]) in (half, whole)
        assert len(found[added]) in (0, whole), "a batch is added wholly or not at all"
        for batch, ids in found.items():
            rows = [(i - 1) % BATCH for i in ids]
            np.testing.assert_array_equal(gallery.descriptors(ids), some_descriptors(BATCH, batch)[rows])
            paths = [e.path for e in gallery.get(ids)]
            assert paths == [some_entries(BATCH, BATCH * batch)[r].path for r in rows]
        # And the next writer goes on.
        gallery.add(some_descriptors(3, 99), some_entries(3, 10_000), model=MODEL.fingerprint)
        assert len(gallery) == len(kept) + 3
