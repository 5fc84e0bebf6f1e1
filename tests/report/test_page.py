from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.records import ReidDataset, Sample, camids_of, pids_of
from crosscam.errors import CrosscamError, ImageError
from crosscam.metrics.ranking import evaluate_ranking
from crosscam.models.output import Block
from crosscam.report.image_tiles import SHOWN_HEIGHT, WIDTHS, thumbnail
from crosscam.report.page import ReportContent, ScoreRow, protocol_in_words, render_report, write_report
from crosscam.report.strips import rank_strips

LAYOUT = (
    *(Block(f"p6.local{i + 1}", 2 * i, 2 * i + 2, 6, "local", (i / 6, (i + 1) / 6)) for i in range(6)),
    Block("p6.global", 12, 14, 6, "global", (0.0, 1.0)),
)
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Every element with its attributes, all text, and whether the elements nest as they should."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and all(a.get(k.rstrip("_")) == v for k, v in wanted.items())]


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> ReportContent:
    folder = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)

    def sample(name: str, pid: int, camid: int) -> Sample:
        path = folder / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (24, 12, 3), dtype=np.uint8)).save(path)
        return Sample(path, pid, camid, camera={1: "gate", 2: "hall"}.get(camid))

    query = tuple(sample(f"q{pid}", pid, 1) for pid in range(1, 7))
    gallery = tuple(sample(f"g{n}", n % 8 - 1, 1 + n % 3) for n in range(40))
    dataset = ReidDataset("drawn", folder, (), query, gallery)
    query_descriptors, gallery_descriptors = rng.normal(size=(6, 14)), rng.normal(size=(40, 14))
    distances = np.linalg.norm(query_descriptors[:, None] - gallery_descriptors[None], axis=-1)
    result = evaluate_ranking(distances, pids_of(query), pids_of(gallery), camids_of(query), camids_of(gallery))
    strips = rank_strips(
        dataset,
        distances,
        result.average_precision,
        query_descriptors,
        gallery_descriptors,
        LAYOUT,
        num_hardest=2,
        num_easiest=1,
        top=4,
    )
    history = [
        {"epoch": e, "step": 9 * e, "loss": 3.0 / e, "triplet": 1.0 / e, "cross_entropy": 1.0 / e, "lr": 0.1}
        for e in range(1, 5)
    ]
    history[3] |= {"mAP": 0.25, "rank1": 0.5}
    fingerprint = dataset.fingerprint()
    return ReportContent(
        "A <b>title</b> & more",
        "what it is",
        [
            ScoreRow("trained", replace(result, mAP=0.7132), True, None, fingerprint),
            ScoreRow("raw <pixels>", replace(result, mAP=0.0814), False, None, fingerprint),
        ],
        history,
        strips,
        {"recipe": "demo", "command": 'crosscam demo --out "a<b"'},
        ["One <i>note</i>."],
    )


@pytest.fixture(scope="module")
def text(content) -> str:
    return render_report(content)


def test_the_page_is_one_file_that_asks_nothing_of_the_network(text):
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in text
    assert "default-src 'none'" in text


def test_all_text_is_escaped(text):
    assert "<b>title</b>" not in text
    assert "<pixels>" not in text
    assert "<i>note" not in text
    words = "".join(Page(text).text)
    for plain in ("A <b>title</b> & more", "raw <pixels>", "One <i>note</i>.", 'crosscam demo --out "a<b"'):
        assert plain in words


def test_scores_are_in_per_cent_with_the_first_row_large(text):
    assert re.search(r'class="big">71\.3<', text)
    table = text[text.index('<table class="scores">') :]
    table = table[: table.index("</table>")]
    assert "<td>71.3</td>" in table
    assert "<td>8.1</td>" in table


@pytest.mark.parametrize(
    ("rank1", "count"), [(0.9347, "93"), (0.0, "0"), (0.003, "fewer than 1"), (0.997, "more than 99"), (1.0, "100")]
)
def test_one_plain_sentence_of_rank_1(content, rank1, count):
    row = content.scores[0]
    cmc = np.full_like(row.result.cmc, rank1)
    words = "".join(
        Page(render_report(replace(content, scores=[replace(row, result=replace(row.result, cmc=cmc))]))).text
    )
    assert f"Of 100 searches, {count} find the right person first." in words


def test_the_history_has_scores_in_per_cent(text):
    table = text[text.index("Training epoch by epoch") : text.index("Rankings</h2>")]
    assert "<td>25.0</td><td>50.0</td>" in table
    assert re.search(r"mAP, per cent</th>\s*<th[^>]*>rank-1, per cent", table)


def test_cameras_have_their_names(text):
    assert {*re.findall(r"<br>cam (\w+)</p>", text)} == {"gate", "hall", "3"}
    assert "camera gate" in text


def test_what_comes_later_stays_with_its_dots(text, content):
    assert any(strip.first_correct for strip in content.strips)
    beside = re.findall(r'class="gap" aria-hidden="true">⋯</li>\s*<li class="tile right">', text)
    assert len(beside) == text.count('class="gap"')


def test_no_tile_of_a_ranking_is_cut_at_the_edge(text, content):
    rows = Page(text).all("ol", class_="row whole-row")
    assert len(rows) == len(content.strips)
    assert ".whole-row { flex-wrap: wrap;" in text


def test_every_image_is_a_small_jpeg_with_words(text, content):
    images = Page(text).all("img")
    shown = sum(1 + len(s.matches) + (s.first_correct is not None) for s in content.strips)
    assert len(images) == shown
    for image in images:
        assert image["alt"]
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            assert opened.format == "JPEG"
            assert opened.height <= 176


def test_frames_and_signs_say_right_or_wrong(text, content):
    shown = [m for s in content.strips for m in (*s.matches, *([s.first_correct] if s.first_correct else []))]
    right = sum(m.correct for m in shown)
    page = Page(text)
    assert 0 < right < len(shown)
    assert len(page.all("li", class_="tile right")) == right
    assert len(page.all("li", class_="tile wrong")) == len(shown) - right
    assert len(re.findall(r'class="sign" aria-hidden="true">✓<', text)) == right
    assert len([i for i in page.all("img") if ", right: " in str(i["alt"])]) == right


def test_bars_name_each_share_of_the_squared_distance(text, content):
    match = content.strips[0].matches[0]
    share = 100 * match.contributions / match.contributions.sum()
    bars = Page(text).all("svg", class_="bars")
    label = str(bars[0]["aria-label"])
    found = [int(x) for x in re.findall(r"(?:height:|image) (\d+) %", label)]
    assert found == [round(x) for x in share]
    assert "0–17 % of the height" in label


def test_a_descriptor_without_parts_has_one_bar(content):
    layout = (Block("global", 0, 14, 1, "global", (0.0, 1.0)),)
    strip = content.strips[0]
    matches = tuple(replace(m, contributions=m.contributions.sum(keepdims=True)) for m in strip.matches)
    plain = replace(strip, layout=layout, matches=matches, first_correct=None)
    page = Page(render_report(replace(content, strips=[plain])))
    assert len(page.all("rect", class_="hit")) == 0
    assert page.all("svg", class_="bars")[0]["aria-label"] == (
        "Share of the squared distance, top to bottom: whole image 100 %."
    )


def test_equal_images_have_no_distance_to_share(content):
    strip = content.strips[0]
    matches = tuple(replace(m, contributions=np.zeros(7), distance=0.0) for m in strip.matches)
    page = Page(render_report(replace(content, strips=[replace(strip, matches=matches, first_correct=None)])))
    bars = page.all("svg", class_="bars")
    assert len(bars) == len(matches)
    assert all("0–17 % of the height: 0 %" in str(bar["aria-label"]) for bar in bars)


def test_protocol_in_words(content):
    row = content.scores[0]
    words = " ".join(protocol_in_words(row))
    for part in ("market1501", "step-wise", "mirror", "No re-ranking", row.data_fingerprint):
        assert part in words
    other = replace(row, reranking="k1 20, k2 6", result=replace(row.result, ap="trapezoid"))
    assert "After the search: k1 20, k2 6." in protocol_in_words(other)
    assert "trapezoid" in " ".join(protocol_in_words(other))


def test_what_rows_share_is_said_once(text, content):
    assert text.count(content.scores[0].data_fingerprint) == 1
    assert "Descriptors are of the image alone" in text


def test_a_rank_beyond_the_curve_is_left_open(content):
    row = content.scores[0]
    short = replace(row, result=replace(row.result, cmc=row.result.cmc[:3], mINP=math.nan))
    table = render_report(replace(content, scores=[short]))
    cells = re.findall(r"<td>([^<]*)</td>", table[table.index('<table class="scores">') :])[:5]
    assert cells[0] == "71.3"
    assert cells[2:] == ["–", "–", "–"]


def test_an_empty_report_says_what_is_missing():
    page = Page(render_report(ReportContent("t", "s")))
    words = "".join(page.text)
    for sentence in (
        "Nothing was scored",
        "Nothing was trained or scored",
        "No rankings were kept",
        "Nothing was noted",
    ):
        assert sentence in words


def test_history_without_evaluations_still_shows_the_loss(content):
    history = [{k: v for k, v in entry.items() if k not in ("mAP", "rank1")} for entry in content.history]
    words = "".join(Page(render_report(replace(content, history=history))).text)
    assert "Loss in training" in words
    assert "Nothing was recorded" in words


def test_the_file_is_written_whole_and_stays_small(content, tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, content)
    assert path.read_text(encoding="utf-8") == render_report(content)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.stat().st_size < 300_000


def test_a_report_that_cannot_be_written_is_one_line(content, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CrosscamError, match=r"Cannot write .*report\.html") as caught:
        write_report(tmp_path / "file" / "report.html", content)
    assert "\n" not in str(caught.value)


def test_a_missing_image_leaves_the_old_report(content, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    strip = replace(content.strips[0], query=Sample(Path("gone.jpg"), 1, 1))
    with pytest.raises(ImageError, match=re.escape("gone.jpg")):
        write_report(path, replace(content, strips=[strip]))
    assert path.read_text() == "old"


@pytest.mark.parametrize(("height", "width"), [(128, 64), (400, 40), (50, 200), (1, 1), (2000, 900)])
def test_thumbnails_keep_rows_at_their_height(height, width):
    uri, shown = thumbnail(np.zeros((height, width, 3), np.uint8))
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert image.height <= 176
        assert image.width / image.height == pytest.approx(shown / SHOWN_HEIGHT, abs=0.02)
    assert WIDTHS[0] <= shown <= WIDTHS[1]
