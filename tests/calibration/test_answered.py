"""A calibration from answers about pairs."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam.calibration.calibration import Calibration, Origin
from crosscam.gallery.calibrated import calibrate_answers, wilson_interval

ORIGIN = Origin("answers", "0" * 16, "1" * 64)


def test_verdicts_begin_where_nine_in_ten_and_one_in_ten_say_the_same_person() -> None:
    random = np.random.default_rng(0)
    distances = random.uniform(0.2, 1.2, 4000)
    # Surely one person below 0.5, surely two beyond 0.9, and a straight line between.
    same = random.random(4000) < np.clip((0.9 - distances) / 0.4, 0, 1)
    found = calibrate_answers(distances.tolist(), same.tolist(), ORIGIN, 100)
    assert found.pooled.same == pytest.approx(0.54, abs=0.03)
    assert found.pooled.other == pytest.approx(0.86, abs=0.03)
    for distance, share in ((0.3, 1.0), (0.6, 0.75), (0.7, 0.5), (0.8, 0.25), (1.1, 0.0)):
        assert found.probability(distance) == pytest.approx(share, abs=0.08)
    assert [found.verdict(d) for d in (0.3, 0.7, 1.1)] == ["same", "unsure", "other"]
    assert (found.answered, found.pooled.genuine) == (4000, int(same.sum()))
    assert found.fmr == pytest.approx(float(((distances < found.pooled.same) & ~same).sum() / (~same).sum()))
    assert "answers to 'same person?'" in found.rests_on()
    assert Calibration.from_json(found.to_json()) == found


def test_answers_that_distances_do_not_explain_call_nothing_the_same() -> None:
    random = np.random.default_rng(1)
    same = random.random(200) < 0.5
    found = calibrate_answers(random.uniform(0.2, 1.2, 200).tolist(), same.tolist(), ORIGIN, 100)
    verdicts = {found.verdict(d) for d in np.linspace(0.25, 1.15, 40)}
    assert "unsure" in verdicts
    calls = sum(found.verdict(d) != "unsure" for d in np.linspace(0.25, 1.15, 40))
    assert calls < 8
    if found.pooled.same < 0.2:
        assert "none is called same" in " ".join(found.notes)


def test_the_interval_is_wilson_s() -> None:
    low, high = wilson_interval(30, 30)
    assert (low, high) == (pytest.approx(0.8865, abs=1e-3), 1.0)
    assert wilson_interval(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-3))
    assert wilson_interval(5, 10) == (pytest.approx(0.2366, abs=1e-3), pytest.approx(0.7634, abs=1e-3))
