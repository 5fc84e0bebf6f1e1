"""Names of cameras in drawings."""

from __future__ import annotations

import re

from crosscam.report.journey_view import Way, camera_graph


def test_names_are_cut_by_their_width() -> None:
    ways = [Way("gate", "入" * 20, people=1, seconds=5.0, first=0.0, last=0.0)]
    assert '入 1 time"' in camera_graph(ways)
    names = re.findall(r'class="name"[^>]*>([^<]*)<', camera_graph(ways))
    assert sorted(names) == ["gate", "入" * 10 + "…"]
