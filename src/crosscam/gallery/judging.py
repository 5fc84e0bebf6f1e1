"""What the distance of two tracks says, and how long people take from camera to camera.

Distances count by a calibration, by the gallery's own distances, or by a given one; times are given, or learned from
sure pairs of tracks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.calibration.calibration import Calibration
from crosscam.data.text_files import read_rows
from crosscam.errors import ArgumentError, DataError
from crosscam.gallery.camera_names import camid_of
from crosscam.gallery.track_table import Tracks
from crosscam.system.text import did_you_mean

# Pairs of tracks that tell how far apart two people usually are, at least and at most.
FEWEST_PAIRS, MOST_PAIRS = 30, 20_000
# With fewer, but with these, their middle counts, and the spread is at least this share of it.
FEWEST_FOR_MIDDLE, LEAST_SPREAD = 3, 0.087
# An uncalibrated distance is even odds at this many spreads below the middle, and each spread counts this much.
EVEN_AT, PER_SPREAD = 2.6, 3.0
BETTER = "'crosscam calibrate', or answers on the Calibration page, make them better."
LogRatio = Callable[[float, bool], float]
Rows = NDArray[np.float32]
# Pairs that a way is learned from, at least.
ENOUGH = 4
# Of people who walk from camera to camera, this share keeps to the usual time.
USUAL_SHARE = 0.9
COLUMNS = ("from", "to", "seconds")


@dataclass(frozen=True)
class LinkOptions:
    """How tracks are linked; each is an option of the command line, too."""

    same: float = 0.9
    """Probability from which two tracks are linked."""
    unsure: float = 0.2
    """Probability from which a link is proposed and left to a person."""
    nearest: int = 10
    """Tracks of each camera that a track is compared with: its nearest."""
    distance: float | None = None
    """Distance of two tracks that is even odds, in place of what the gallery tells."""

    def __post_init__(self) -> None:
        if not 0 < self.unsure <= self.same < 1:
            raise ArgumentError(f"Expected 0 < unsure <= same < 1, found {self.unsure} and {self.same}.")
        if self.nearest < 1:
            raise ArgumentError(f"nearest is {self.nearest}. Expected 1 or more.")
        if self.distance is not None and not 0 < self.distance <= 2:
            raise ArgumentError(f"distance is {self.distance}. Expected more than 0 and at most 2.")


@dataclass(frozen=True)
class Judge:
    """What the distance of two tracks says.

    Attributes:
        ratio: (distance, at one camera) to the logarithm of the likelihood ratio of one person against two.
        calibrated: whether it is the gallery's calibration, which is of single images; the distance of two tracks is
            then the root mean square of the distances of all pairs of their images. Else it is the distance of the
            means of their descriptors, scaled to length 1, which tells people apart better.
        told: one sentence: what it rests on.
        guessed: whether the gallery has too few tracks to tell well what a distance means.
        elsewhere: whether the calibration is of other cameras.
    """

    ratio: LogRatio
    calibrated: bool
    told: str
    guessed: bool = False
    elsewhere: bool = False

    def rows(self, tracks: Tracks) -> Rows:
        """(T, D) what tracks are compared by: ``sqrt(2 - 2 * row @ row)`` is their distance."""
        return tracks.means if self.calibrated else unit_rows(tracks.means)


def calibrated_judge(calibration: Calibration) -> Judge:
    """By a calibration; at one camera two people are nearer, by as much as its thresholds say."""
    distances, ratios = (np.array(column) for column in zip(*calibration.steps, strict=True))
    nearer = calibration.pooled.same - calibration.within.same if calibration.within else 0.0

    def ratio(distance: float, one_camera: bool) -> float:
        return float(np.interp(distance + (nearer if one_camera else 0.0), distances, ratios))

    return Judge(ratio, True, calibration.rests_on())


def plain_judge(tracks: Tracks, options: LinkOptions) -> Judge:
    """By how much nearer two tracks are than tracks of this gallery usually are; or by a given distance."""
    found = {one_camera: _distances(tracks, one_camera) for one_camera in (False, True)}
    across, one = (None if len(d) < FEWEST_PAIRS else _usual_distance(d) for d in found.values())
    few = across is None and one is None
    usual = across or one or _usual_of_few(np.concatenate(list(found.values())))
    given = options.distance
    if usual is None and given is None:
        told = "Not calibrated, and with so few tracks nothing tells what a distance means: links are only proposed."
        return Judge(lambda _distance, _one_camera: 0.0, False, f"{told} {BETTER}", True)
    middle, spread = usual or (0.0, LEAST_SPREAD * (given or 0.0))
    by_camera = {False: (middle, spread), True: one or (middle, spread)}
    even = {where: m - EVEN_AT * s if given is None else given for where, (m, s) in by_camera.items()}

    def ratio(distance: float, one_camera: bool) -> float:
        return PER_SPREAD * (even[one_camera] - distance) / by_camera[one_camera][1]

    basis = "was given" if given is not None else "is how far tracks of this gallery are apart"
    told = (
        f"Not calibrated: a distance of {even[False]:.2f} between tracks of two cameras is even odds, which {basis}. "
        f"Probabilities are rough; {BETTER}"
    )
    return Judge(ratio, False, told, few and given is None)


def _distances(tracks: Tracks, one_camera: bool) -> NDArray[np.float64]:
    """(N,) distances of pairs of tracks, of one camera or of two; most pairs are of two people."""
    count = len(tracks)
    if count * (count - 1) // 2 <= MOST_PAIRS:
        first, second = np.triu_indices(count, 1)
    else:
        first, second = np.random.default_rng(0).integers(0, count, (2, 3 * MOST_PAIRS))
    kept = (first != second) & ((tracks.camids[first] == tracks.camids[second]) == one_camera)
    first, second = first[kept][:MOST_PAIRS], second[kept][:MOST_PAIRS]
    rows = unit_rows(tracks.means)
    products = np.einsum("ij,ij->i", rows[first], rows[second])
    return np.asarray(np.sqrt(np.maximum(0.0, 2.0 - 2.0 * products)), np.float64)


def _usual_distance(distances: NDArray[np.float64]) -> tuple[float, float]:
    """Median and spread."""
    middle = float(np.median(distances))
    # One person's pairs are all on the near side, so the far side tells the spread.
    spread = float(np.sqrt(np.square(distances[distances >= middle] - middle).mean()))
    return middle, max(spread, 1e-3)


def _usual_of_few(distances: NDArray[np.float64]) -> tuple[float, float] | None:
    """The same of few pairs, which show less of the spread than there is; None for too few."""
    if len(distances) < FEWEST_FOR_MIDDLE:
        return None
    middle, spread = _usual_distance(distances)
    return middle, max(spread, LEAST_SPREAD * middle)


def unit_rows(rows: Rows) -> Rows:
    """Rows scaled to length 1; images that cancel out have no direction and stay 0."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Rows = rows / np.maximum(lengths, np.float32(1e-12))
    return scaled


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


def read_transits(file: Path, names: Mapping[int, str], cameras: Container[int]) -> dict[tuple[int, int], Transit]:
    """Ways from a table with the columns from, to, seconds and, where it is known, spread.

    Args:
        file: CSV; cameras by name or number. A way holds in its direction alone.
        names: of the gallery's cameras.
        cameras: numbers of the cameras that have entries.
    Raises:
        DataError: no such file, a column of another name, or a row that cannot be read.
    """
    rows = read_rows(file, "Expected a CSV table: from,to,seconds,spread.")
    found: dict[tuple[int, int], Transit] = {}
    strange_column = next((name for name in (rows[0] if rows else ()) if name not in (*COLUMNS, "spread")), None)
    if strange_column is not None and set(COLUMNS) <= rows[0].keys():
        near = did_you_mean(strange_column, ("spread",))
        raise DataError(f"{file}: unknown column {strange_column!r}. {near}Expected from,to,seconds,spread.")
    for number, row in enumerate(rows, 2):
        try:
            way = camid_of(names, (row["from"] or "").strip()), camid_of(names, (row["to"] or "").strip())
            strange = next((camid for camid in way if camid not in cameras), None)
            if strange is not None:
                raise ArgumentError(f"no entry of the gallery is of camera {strange}")
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
