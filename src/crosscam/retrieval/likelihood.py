"""From a distance to a probability: how much likelier it is between pictures of one person than of two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import CrosscamError
from crosscam.retrieval.labels import Ints
from crosscam.retrieval.pair_counts import WIDTH

Floats = NDArray[np.float64]


def log_likelihood_ratio(genuine: Ints, impostor: Ints) -> tuple[Floats, Floats]:
    """log P(distance | same person) - log P(distance | two people), which never rises with the distance.

    An isotonic fit (pool adjacent violators) over the bins. Half a pair is added to either kind in each step of the
    fit, so that no distance is certain: a step with none of 1,000 pairs does not say "impossible".

    Args:
        genuine: (BINS,) counts.
        impostor: (BINS,) counts.
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
    centre = np.add.reduceat((used + 0.5) * WIDTH * (g + i), starts) / weight
    of_genuine = np.add.reduceat(genuine[used], starts) + 0.5
    of_impostor = np.add.reduceat(impostor[used], starts) + 0.5
    ratio = np.log(of_genuine / (genuine.sum() + 0.5)) - np.log(of_impostor / (impostor.sum() + 0.5))
    # The half pairs can turn two neighbouring steps round.
    return centre, isotonic_regression(ratio, weights=weight, increasing=False).x
