"""How long people take from one camera to the next: given, or learned from sure pairs of tracks."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosscam.errors import ArgumentError, DataError
from crosscam.gallery.camera_names import camid_of

# Pairs that a way is learned from, at least.
ENOUGH = 4
# Of people who walk from camera to camera, this share keeps to the usual time.
USUAL_SHARE = 0.9
COLUMNS = ("from", "to", "seconds")


@dataclass(frozen=True)
class Transit:
    """The way from one camera to another.

    Attributes:
        seconds: median, from the end of a track to the beginning of the next.
        spread: standard deviation.
        pairs: of tracks that it was learned from; 0 where it was given.
    """

    seconds: float
    spread: float
    pairs: int = 0

    def weight(self, gap: float, span: float) -> float:
        """Logarithm of the likelihood ratio of a gap: of one person, against any time in ``span`` seconds.

        Some people stop on their way, so that no gap tells more than a factor of 10 against one person.
        """
        away = (gap - self.seconds) / self.spread
        density = math.exp(-0.5 * away * away) / (self.spread * math.sqrt(2.0 * math.pi))
        return math.log(USUAL_SHARE * max(1.0, span) * density + 1.0 - USUAL_SHARE)


Transits = Mapping[tuple[int, int], Transit]


def learn_transits(gaps: Iterable[tuple[int, int, float]], *, both: bool = True) -> dict[tuple[int, int], Transit]:
    """Median and spread of the gaps (from, to, seconds) of each pair of cameras with enough of them.

    A way that few have gone is taken to last as long as both directions together, with twice the least spread; without
    ``both`` it is not learned.
    """
    by_way: dict[tuple[int, int], list[float]] = defaultdict(list)
    for start, end, gap in gaps:
        by_way[start, end].append(gap)
    found = {}
    for way in sorted({*by_way, *((end, start) for start, end in by_way)}):
        own = by_way.get(way, [])
        some = own if len(own) >= ENOUGH or not both else own + by_way.get(way[::-1], [])
        if len(some) >= ENOUGH:
            middle = float(np.median(some))
            spread = 1.4826 * float(np.median(np.abs(np.array(some) - middle)))
            least = max(0.15 * abs(middle), 1.0) * (1 if some is own else 2)
            found[way] = Transit(middle, max(spread, least), len(some))
    return found


def read_transits(file: Path, names: Mapping[int, str]) -> dict[tuple[int, int], Transit]:
    """Ways from a table with the columns from, to, seconds and, where it is known, spread.

    Args:
        file: CSV; cameras by name or number. A way holds in its direction alone.
        names: of the gallery's cameras.
    Raises:
        DataError: no such file, or a row that cannot be read.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file} cannot be read ({reason}). Expected a CSV table: from,to,seconds,spread.") from error
    found: dict[tuple[int, int], Transit] = {}
    for number, row in enumerate(rows, 2):
        try:
            way = camid_of(names, (row["from"] or "").strip()), camid_of(names, (row["to"] or "").strip())
            seconds = float(row["seconds"])
            spread = float(row.get("spread") or max(1.0, 0.3 * abs(seconds)))
            if not (math.isfinite(seconds) and 0 < spread < math.inf):
                raise ArgumentError("expected a finite number of seconds and a spread above 0")
            if way in found:
                raise ArgumentError("this way is given twice")
        except (KeyError, TypeError, ValueError) as error:
            missing = [name for name in COLUMNS if name not in row]
            said = f"no column {missing[0]}" if missing else f"line {number}: {str(error).rstrip('.')}"
            raise DataError(f"{file}: {said}. Expected from,to,seconds,spread, cameras by name or number.") from error
        found[way] = Transit(seconds, spread)
    if not found:
        raise DataError(f"{file} has no rows. Expected from,to,seconds,spread, one line for each way.")
    return found
