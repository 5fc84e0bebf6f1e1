"""Thresholds, probabilities and open-set figures from labeled images: which distance is the same person?

The pairs that count are those across different cameras: a person with himself (genuine), and two different people
(impostor). Pairs of one person at one camera are left out, as in rankings. Two people at one camera share the
background and are closer; they give thresholds of their own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.calibration.calibration import Calibration, CameraThresholds, Origin, Thresholds
from crosscam.calibration.open_set import (
    MIN_ERRORS,
    REPLICATES,
    det_curve,
    edge_at_fmr,
    edge_at_fnmr,
    operating_points,
    pairs_needed,
)
from crosscam.calibration.pair_counts import (
    MAX_CAMERA_PAIRS,
    WIDTH,
    Cameras,
    Labeled,
    PairCounts,
    closest_impostors,
    count_pairs,
    labeled,
)
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID, ReidDataset, Sample
from crosscam.errors import ArgumentError, CrosscamError, DataError
from crosscam.metrics.counting import Ints, check_labels

OPEN_SET_RATES = (1e-2, 1e-3, 1e-4)
# Of error rates that are asked for: thirty errors take 3e13 pairs.
LOWEST_RATE = 1e-12
# Of how many people the pairs of two cameras must be, before these cameras have thresholds of their own.
MIN_PEOPLE = 20

Floats = NDArray[np.float64]


def images_to_calibrate(dataset: ReidDataset, trained_on: str | None = None) -> tuple[tuple[Sample, ...], str]:
    """The images of a dataset that may calibrate, each once and without junk; and in words which they are.

    Args:
        dataset: its query and gallery; without them, all its images.
        trained_on: fingerprint of the dataset that the network was trained on, if known.
    Raises:
        DataError: the network was trained on these very images, which would make it look better than it is.
    """
    test = {s.path: s for s in (*dataset.query, *dataset.gallery)}
    if not test and dataset.fingerprint() == trained_on:
        raise DataError(
            f"The network was trained on {dataset.place}, so people there are easier for it than others. Give data "
            "with a query and a gallery, or of other people; 'crosscam data holdout' splits data before training."
        )
    chosen = tuple(s for s in (test.values() or dataset.train) if s.pid != JUNK_PID)
    if not chosen:
        raise DataError(f"{dataset.place} has no images to calibrate on. Expected labeled images, junk apart.")
    return chosen, "query and gallery" if test else "all images, as there is no query and gallery"


def check_calibration(name: str, pids: ArrayLike, camids: ArrayLike, *, fmr: float, fnmr: float, prior: float) -> None:
    """Refuse, before an image is described, what :func:`calibrate` cannot learn from; arguments, errors as there."""
    for what, value in (("fmr", fmr), ("fnmr", fnmr), ("prior", prior)):
        if not 0 < value < 1:
            raise ArgumentError(f"{what} is {value}. Expected a number between 0 and 1.")
        if what != "prior" and value < LOWEST_RATE:
            raise ArgumentError(f"{what} is {value}. Expected at least {LOWEST_RATE:g}: no dataset shows rarer errors.")
    count = len(np.atleast_1d(np.asarray(pids)))
    labels = check_labels((count, count), pids, pids, camids, camids)
    keep = labels.query_pids != JUNK_PID
    pid, camid = labels.query_pids[keep], labels.query_camids[keep]
    across = _pairs(np.zeros_like(pid)) - _pairs(camid)
    of_one = _pairs(pid) - _pairs(pid, camid)
    nobody = pid == DISTRACTOR_PID
    # Two distractors may be one person or two, and are never compared.
    of_nobody = _pairs(pid[nobody]) - _pairs(pid[nobody], camid[nobody])
    _refuse_too_few(name, of_one - of_nobody, across - of_one, fmr, fnmr)


def _pairs(*labels: Ints) -> int:
    """Pairs of images that have all labels in common."""
    counts = np.unique(np.stack(labels), axis=1, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def calibrate(
    descriptors: NDArray[np.float32],
    pids: ArrayLike,
    camids: ArrayLike,
    origin: Origin,
    *,
    fmr: float = 1e-3,
    fnmr: float = 0.05,
    prior: float = 0.01,
    replicates: int = REPLICATES,
) -> Calibration:
    """Learn from labeled images which distances are of one person.

    Args:
        descriptors: (N, D), each row of length 1; of people that the network was not trained on.
        pids: (N,) integers; -1 is junk and left out, 0 a distractor.
        camids: (N,) integers.
        origin: data and model.
        fmr, fnmr, prior: see :class:`Calibration`.
        replicates: bootstrap samples behind each interval.
    Raises:
        ValueError: a rate or prior not between 0 and 1, or arrays that do not fit.
        DataError: too few pairs for the wanted rates.
    """
    data = labeled(descriptors, pids, camids)
    check_calibration(origin.data, pids, camids, fmr=fmr, fnmr=fnmr, prior=prior)
    chosen, left_out = _cameras_with_enough(data, fmr, fnmr)
    counts = count_pairs(data, chosen)
    pooled = _thresholds(counts.genuine, counts.impostor, fmr, fnmr)
    within, too_few = _within_if_enough(int(counts.within.sum()), counts, fmr, pooled)
    rates = tuple(sorted({*OPEN_SET_RATES, fmr}, reverse=True))
    tail = closest_impostors(data, counts, share=min(1.0, 3 * max(rates)))
    centers, ratios = log_likelihood_ratio(counts.genuine, counts.impostor)
    return Calibration(
        origin=origin,
        fmr=fmr,
        fnmr=fnmr,
        prior=prior,
        pooled=pooled,
        within=within,
        cameras=_camera_thresholds(counts, fmr, fnmr, pooled),
        images=len(data.descriptors),
        people=data.num_people,
        distractors=len(data.per_identity) - data.num_people,
        num_cameras=len(data.camids),
        within_pairs=int(counts.within.sum()),
        open_set=operating_points(data, counts, tail, rates, replicates),
        det=det_curve(counts),
        steps=tuple((round(float(d), 6), round(float(r), 6)) for d, r in zip(centers, ratios, strict=True)),
        notes=(*left_out, *too_few),
    )


def _within_if_enough(
    pairs: int, counts: PairCounts, fmr: float, pooled: Thresholds
) -> tuple[Thresholds | None, tuple[str, ...]]:
    """Thresholds for two images of one camera; without enough pairs of such, a note that says what holds instead."""
    if pairs >= pairs_needed(fmr):
        return _within(counts.within, fmr, pooled), ()
    return None, (
        "Two images of one camera are judged by the thresholds across cameras: "
        f"{pairs:,} pairs within cameras are fewer than {pairs_needed(fmr):,}.",
    )


def _refuse_too_few(name: str, genuine: int, impostor: int, fmr: float, fnmr: float) -> None:
    if not genuine or not impostor:
        what = "one person at two cameras" if not genuine else "two people at two cameras"
        raise DataError(f"{name} has no pair of images of {what}. Expected people seen by several cameras.")
    for option, rate, pairs, what in (
        ("--fmr", fmr, impostor, "different people"),
        ("--fnmr", fnmr, genuine, "one person"),
    ):
        if pairs < pairs_needed(rate):
            lowest = MIN_ERRORS / pairs
            way = f"Give {option} {_rounded_up(lowest)}, or more" if lowest < 1 else "Give more"
            raise DataError(
                f"{name} has {pairs:,} pairs of {what} across cameras, too few for {option} {rate:g}: "
                f"expected {pairs_needed(rate):,}, so that {MIN_ERRORS} errors stand behind the threshold. "
                f"{way} labeled images."
            )


def _rounded_up(rate: float) -> str:
    """A rate in two digits, not below itself."""
    scale = 10.0 ** (1 - math.floor(math.log10(rate)))
    return f"{math.ceil(rate * scale) / scale:.2g}"


def _thresholds(genuine: Ints, impostor: Ints, fmr: float, fnmr: float) -> Thresholds:
    """Where both wanted rates can be had at once, nothing is unsure."""
    same = edge_at_fmr(impostor, fmr) * WIDTH
    other = max(same, edge_at_fnmr(genuine, fnmr) * WIDTH)
    return Thresholds(same, other, int(genuine.sum()), int(impostor.sum()))


def _within(impostor: Ints, fmr: float, pooled: Thresholds) -> Thresholds:
    """At one camera there are no genuine pairs to count, so "other" begins where it does across cameras."""
    same = edge_at_fmr(impostor, fmr) * WIDTH
    return Thresholds(same, max(same, pooled.other), 0, int(impostor.sum()))


def _cameras_with_enough(data: Labeled, fmr: float, fnmr: float) -> tuple[list[Cameras], list[str]]:
    """The camera pairs with pairs enough for thresholds of their own, and notes on the others; read off the labels."""
    images = data.per_identity
    people = images[: data.num_people]
    totals, of_distractors = images.sum(axis=0), images[data.num_people :].sum(axis=0)
    enough: dict[Cameras, int] = {}
    short = 0
    for a in range(len(totals)):
        for b in range(a, len(totals)):
            both = (people[:, a] > 0) & (people[:, b] > 0)
            own = int((people[:, a] * people[:, b]).sum())
            if a == b:
                squares = int(np.square(people[:, a]).sum())
                impostor = int((totals[a] ** 2 - of_distractors[a] ** 2 - squares) // 2)
                ok = impostor >= pairs_needed(fmr) and np.count_nonzero(both) >= MIN_PEOPLE
            else:
                impostor = int(totals[a] * totals[b] - of_distractors[a] * of_distractors[b]) - own
                ok = (
                    impostor >= pairs_needed(fmr) and own >= pairs_needed(fnmr) and np.count_nonzero(both) >= MIN_PEOPLE
                )
            if ok:
                enough[a, b] = impostor
            else:
                short += 1
    chosen = sorted(sorted(enough, key=lambda pair: -enough[pair])[:MAX_CAMERA_PAIRS])
    notes = []
    if short:
        notes.append(
            f"{short:,} of {short + len(enough):,} camera pairs (cameras with themselves included) have fewer than "
            f"{pairs_needed(fmr):,} pairs of different people, {pairs_needed(fnmr):,} of one person or {MIN_PEOPLE} "
            "people, and take the pooled thresholds."
        )
    if len(enough) > len(chosen):
        notes.append(
            f"Of {len(enough):,} camera pairs with enough data, the {len(chosen):,} with most have thresholds."
        )
    return chosen, notes


def _camera_thresholds(counts: PairCounts, fmr: float, fnmr: float, pooled: Thresholds) -> tuple[CameraThresholds, ...]:
    return tuple(
        CameraThresholds(
            camids,
            _within(impostor, fmr, pooled) if camids[0] == camids[1] else _thresholds(genuine, impostor, fmr, fnmr),
        )
        for camids, (genuine, impostor) in counts.by_cameras.items()
    )


def log_likelihood_ratio(genuine: Ints, impostor: Ints) -> tuple[Floats, Floats]:
    """log P(distance | same person) - log P(distance | two people), which never rises with the distance.

    An isotonic fit (pool adjacent violators) over (BINS,) counts. Half a pair is added to either kind in each step of
    the fit, so that no distance is certain: a step with none of 1,000 pairs does not say "impossible".

    Returns:
        (S,) ascending distances, the mean of each step; and (S,) ratios between which to interpolate.
    Raises:
        CrosscamError: scipy is missing.
    """
    try:
        from scipy.optimize import isotonic_regression
    except ImportError as error:
        raise CrosscamError("A calibration needs scipy 1.12 or newer: pip install 'crosscam[gallery]'.") from error

    used = np.flatnonzero(genuine + impostor)
    g, i = genuine[used] / genuine.sum(), impostor[used] / impostor.sum()
    fit = isotonic_regression(g / (g + i), weights=g + i, increasing=False)
    starts = fit.blocks[:-1]
    weight = np.add.reduceat(g + i, starts)
    center = np.add.reduceat((used + 0.5) * WIDTH * (g + i), starts) / weight
    of_genuine = np.add.reduceat(genuine[used], starts) + 0.5
    of_impostor = np.add.reduceat(impostor[used], starts) + 0.5
    ratio = np.log(of_genuine / (genuine.sum() + 0.5)) - np.log(of_impostor / (impostor.sum() + 0.5))
    # The half pairs can turn two neighboring steps round.
    return center, isotonic_regression(ratio, weights=weight, increasing=False).x
