from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from test_page import Page

import crosscam
from crosscam.errors import CrosscamError
from crosscam.explain.pair import PairExplanation, explain_pair
from crosscam.explain.typical import TypicalPairs, block_words
from crosscam.models.output import Block
from crosscam.report.image_tiles import heat
from crosscam.report.pair_page import render_pair_page, write_pair_page
from small_models import tiny_rrid


@pytest.fixture(scope="module")
def pair() -> PairExplanation:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)
    return explain_pair(crosscam.Extractor(*tiny_rrid()), *images)


@pytest.fixture(scope="module")
def text(pair) -> str:
    return render_pair_page(replace(pair, query="a/<b>.png"), {"command": 'crosscam explain "x<y"'})


def test_the_page_is_one_file_that_asks_nothing_of_the_network(text):
    for tag, attributes in Page(text).elements:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert "://" not in text
    assert "default-src 'none'" in text


def test_all_text_is_escaped(text):
    words = "".join(Page(text).text)
    assert "<b>.png and" in words
    assert 'crosscam explain "x<y"' in words
    assert "<b>.png" not in text


def test_each_image_is_stored_once(text):
    assert text.count("data:image/jpeg") == 2


def test_every_block_has_its_bar_its_share_and_its_maps(text, pair):
    page = Page(text)
    drawn = " ".join(str(a["aria-label"]) for a in page.all("svg", role="img") if "Shares" in str(a["aria-label"]))
    for part in pair.blocks:
        words = block_words(part.block)
        assert f"{words} {100 * part.share:.1f} %" in drawn
        assert f"{words}: {part.squared_distance:.4f}" in text
        assert f"query under the map of {words}" in text
        assert f"match under the map of {words}" in text
    assert len(page.all("figure", class_="scale")) == 2
    assert len(page.all("figure", class_="map")) == len(pair.blocks) + 1, "both images without a map stand first"
    assert page.all("svg", **{"aria-label": "query without a map"})


def test_the_headline_has_words_instead_of_internal_names(text, pair):
    header = text[text.index("<header>") : text.index("</header>")]
    assert all(part.block.name not in header for part in pair.blocks)
    assert "|b|²" not in text
    assert "off the ranking" not in text
    assert "stripe 1 of" in "".join(Page(text).text)


def test_one_sentence_says_which_parts_agree_and_against_what(text, pair):
    header = text[text.index("<header>") : text.index("</header>")]
    assert "Measured against the usual share of each part" in header
    layout = tuple(part.block for part in pair.blocks)
    values = np.array([[part.squared_distance for part in pair.blocks]])
    typical = TypicalPairs(np.repeat(values * 3, 20, axis=0), np.empty((0, len(layout))), "20 random pairs of a test")
    found = render_pair_page(pair, {}, typical)
    assert "more than in 19 of 20 random pairs. Measured against 20 random pairs of a test." in found


def test_clothes_stay_visible_below_maps_and_tints(text):
    assert float(max(re.findall(r'fill-opacity="([\d.]+)"', text))) <= 0.25
    assert heat(np.zeros(1))[0, 3] < 0.15 * 255
    assert heat(np.ones(1))[0, 3] <= 0.6 * 255


def test_bars_are_as_long_as_the_addends(text, pair):
    lengths = [
        float(x)
        for x in re.findall(r'<rect class="(?:band|band most|whole)" x="\d+" y="[\d.]+" width="([\d.]+)"', text)
    ]
    addends = sorted(part.squared_distance for part in pair.blocks)
    assert sorted(lengths) == pytest.approx([64 * a / addends[-1] for a in addends], abs=0.06)
    assert text.count('<rect class="whole"') == sum(part.block.kind == "global" for part in pair.blocks)


def test_the_sum_stands_below_the_addends(text, pair):
    words = "".join(Page(text).text)
    assert f"{pair.squared_distance:.6f}" in words
    assert f"{pair.distance**2:.6f}" in words
    table = re.findall(r"<td>(0\.\d{6})</td>", text)
    assert sum(map(float, table[:-2])) == pytest.approx(float(table[-2]), abs=5e-6)
    assert ">weight<" not in text


def test_weights_have_a_column_when_there_are_any(pair):
    blocks = (replace(pair.blocks[0], weight=2.0), *pair.blocks[1:])
    text = render_pair_page(replace(pair, blocks=blocks), {})
    assert ">weight<" in text
    assert "<td>2</td>" in text


def test_a_descriptor_without_parts_or_map(pair):
    block = replace(pair.blocks[0], block=Block("global", 0, 25, 1, "global", (0.0, 1.0)), share=1.0)
    text = render_pair_page(replace(pair, blocks=(block,), query_maps=None, match_maps=None), {})
    page = Page(text)
    assert len(page.all("figure", class_="scale")) == 1
    assert "none is drawn" in text
    assert not page.all("rect", class_="tint")


def test_equal_images(pair):
    blocks = tuple(replace(part, squared_distance=0.0, share=0.0) for part in pair.blocks)
    text = render_pair_page(replace(pair, blocks=blocks, distance=0.0), {})
    assert not re.search(r"\bnan\b", re.sub('data:[^"]*', "", text))
    assert 'fill-opacity="0.000"' in text


def test_a_page_that_cannot_be_written_is_one_line(pair, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CrosscamError, match=r"Cannot write .*page\.html"):
        write_pair_page(tmp_path / "file" / "page.html", pair)
