"""Reports: self-contained pages of scores, rankings and pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.report.hits import write_hits
    from crosscam.report.page import write_report
    from crosscam.report.pair_page import write_pair_page
    from crosscam.report.pairs import write_pairs
    from crosscam.report.strips import RankStrip, rank_strips

__getattr__, __dir__ = lazily(
    __name__,
    {
        "report.hits": "write_hits",
        "report.page": "write_report",
        "report.pair_page": "write_pair_page",
        "report.pairs": "write_pairs",
        "report.strips": "RankStrip rank_strips",
    },
)
__all__ = ["RankStrip", "rank_strips", "write_hits", "write_pair_page", "write_pairs", "write_report"]
