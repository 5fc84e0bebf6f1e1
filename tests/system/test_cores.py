"""Cores that this process may use, on systems that can tell and on those that cannot."""

import os

import pytest

from crosscam.system.cores import available_cores


def test_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert available_cores() == 3


@pytest.mark.parametrize(("found", "expected"), [(6, 6), (None, 1)])
def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch, found: int | None, expected: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: found)
    assert available_cores() == expected
