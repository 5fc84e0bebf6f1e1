"""Published scores beside one's own: on a whole test split, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crosscam.data.records import ReidDataset, Sample
from crosscam.reproduce.published import beside


def market() -> ReidDataset:
    """The official counts of Market-1501's test, without its images."""
    query = tuple(Sample(Path(f"q{i}.jpg"), 1 + i % 750, 1 + i % 6) for i in range(3368))
    gallery = [Sample(Path(f"g{i}.jpg"), 1 + i % 750, 1 + i % 6) for i in range(15_913 - 2_798)]
    gallery += [Sample(Path(f"d{i}.jpg"), 0, 1) for i in range(2_798)]
    gallery += [Sample(Path(f"j{i}.jpg"), -1, 1) for i in range(3_819)]
    return ReidDataset("market1501", Path("m"), (), query, tuple(gallery))


def test_the_official_split_has_published_scores() -> None:
    text = beside(market())
    assert text is not None
    assert "svdnet 62.1 / 82.3" in text
    assert "rrid-f 88.9 / 95.2" in text


def test_a_part_of_it_and_other_data_have_none() -> None:
    whole = market()
    assert beside(replace(whole, query=whole.query[1:])) is None
    assert beside(replace(whole, name="table")) is None
    assert beside(replace(whole, name="viper")) is None
