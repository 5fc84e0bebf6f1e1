"""Reports: self-contained pages of scores, rankings and pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.report.hits import write_hits
    from crosscam.report.page import write_report
    from crosscam.report.pair_page import write_pair_page
    from crosscam.report.pairs import write_pairs
    from crosscam.report.strips import RankStrip, rank_strips

__getattr__, __dir__ = lazily(
    __name__,
    {
        "RankStrip": "report.strips",
        "rank_strips": "report.strips",
        "write_hits": "report.hits",
        "write_pair_page": "report.pair_page",
        "write_pairs": "report.pairs",
        "write_report": "report.page",
    },
)
__all__ = [
    "RankStrip",
    "rank_strips",
    "write_hits",
    "write_pair_page",
    "write_pairs",
    "write_report",
]
