from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from crosscam.data.records import pids_of
from crosscam.metrics.intervals import Interval, paired_difference
from crosscam.recipes.checkpoint import load_recipe
from crosscam.reproduce.paper_rows import ROWS
from crosscam.reproduce.published import published_column
from crosscam.reproduce.study import Study
from crosscam.reproduce.table_files import as_csv, as_html, as_json, as_markdown, signed, write_tables
from crosscam.reproduce.tables import Table, claims_table, table3, table4, tables_of
from crosscam.training.callbacks import read_history


def record(table: Table, **wanted: object) -> dict[str, object]:
    return next(r for r in table.records if all(r[k] == v for k, v in wanted.items()))


def mean_scores(study: Study, row: str, feature: str = "whole") -> tuple[float, float]:
    """mAP and rank-1, counted query by query."""
    aps, hits = [], []
    for result in study.results(row):
        ap, first = result.average_precision[feature], result.first_match[feature]
        aps.append([a for a in ap if not np.isnan(a)])
        hits.append([f == 1 for f in first if f > 0])
    return float(np.mean(aps)), float(np.mean(hits))


def test_table_2_shows_what_was_measured_beside_what_was_printed(finished: Study) -> None:
    table, _ = tables_of(finished, "table2")
    row = record(table, row="rm-gmp")
    assert (row["mAP"], row["rank1"]) == pytest.approx(mean_scores(finished, "rm-gmp"))
    assert (row["published_mAP"], row["published_rank1"]) == (0.867, 0.942)
    assert (row["seeds"], row["dim"], row["paper_dim"]) == (2, 28, 1792)
    each = [r.values["mAP"] for r in finished.results("rm-gmp")]
    assert row["mAP_sd"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    assert row["mAP_low"] < row["mAP"] < row["mAP_high"]
    assert "mAP" not in record(table, row="rrid-s")
    assert [n for n in table.notes if n.startswith("Not trained yet: gf-gap, ")]
    (share,) = [n for n in table.notes if n.startswith("Cross-entropy weighs the same")]
    assert " gmp 6, " in share
    assert "rrid-s 2, " in share
    assert len(table.cells) == len(table.records) == 14
    assert all(len(cells) == len(table.heads) for cells in table.cells)


def test_a_claim_is_measured_on_the_same_queries(finished: Study) -> None:
    table = claims_table(finished)
    found = record(table, better="rm-gmp", worse="gmp")
    stacks = [np.stack([r.average_precision["whole"] for r in finished.results(n)]) for n in ("rm-gmp", "gmp")]
    expected = paired_difference(*stacks, pids_of(finished.dataset.query))
    assert found["mAP_change"] == pytest.approx(expected.value)
    assert (found["mAP_change_low"], found["mAP_change_high"]) == (expected.low, expected.high)
    assert found["published_mAP"] == pytest.approx(0.03)
    assert "mAP_change" not in record(table, better="rrid-s", worse="rm-gmp")


def test_table_3_is_of_single_stripes(finished: Study) -> None:
    table = table3(finished)
    for region in range(1, 7):
        row = record(table, region=region)
        for which, name in (("without", "gmp"), ("with", "rm-gmp")):
            expected = mean_scores(finished, name, f"p6.local{region}")
            assert (row[f"{which}_mAP"], row[f"{which}_rank1"]) == pytest.approx(expected)
        assert row["mAP_change"] == pytest.approx(row["with_mAP"] - row["without_mAP"])
    assert table.cells[0][1:3] == ("29.6 / 49.4", "58.7 / 82.2")


def test_table_4_is_of_the_global_feature(finished: Study) -> None:
    row = record(table4(finished), pooling="GMP")
    assert (row["mAP"], row["rank1"]) == pytest.approx(mean_scores(finished, "rm-gmp", "p6.global"))
    assert record(table4(finished), pooling="GCP")["seeds"] == 0


def test_a_study_without_any_training_still_prints(empty: Study) -> None:
    for what in ("table1", "table2", "table3", "table4"):
        for table in tables_of(empty, what):
            assert table.cells
            assert all(len(cells) == len(table.heads) for cells in table.cells)


def test_the_published_column_is_that_of_the_data() -> None:
    assert published_column("dukemtmc-reid") == "dukemtmc-reid"
    assert published_column("holdout") == "market1501"


def test_csv_and_json_hold_the_records(finished: Study) -> None:
    tables = tables_of(finished, "table2")
    rows = list(csv.DictReader(io.StringIO(as_csv(tables[0]))))
    assert [r["row"] for r in rows] == [r["row"] for r in tables[0].records]
    by_name = {r["row"]: r for r in rows}
    assert float(by_name["gmp"]["mAP"]) == record(tables[0], row="gmp")["mAP"]
    assert by_name["rrid-f"]["mAP"] == ""
    content = json.loads(as_json(tables, {"command": "a test"}))
    assert content["table2"]["rows"] == json.loads(json.dumps(tables[0].records))
    assert content["provenance"] == {"command": "a test"}


def test_pages_are_written_whole(finished: Study, tmp_path: Path) -> None:
    tables = tables_of(finished, "table2")
    files = write_tables(tmp_path, "table2", tables, {"command": "<a test>"}, Markup("<p>chart</p>"))
    assert sorted(f.name for f in files) == ["claims.csv", "table2.csv", "table2.html", "table2.json", "table2.md"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    page = as_html(tables, {"command": "<a test>"}, Markup("<p>chart</p>"))
    assert "<p>chart</p>" in page
    assert "&lt;a test&gt;" in page
    assert "<a test>" not in page
    assert "numbers beside those measured here." in page
    own = Table("gaps", "Gaps", ("feature", "collide 0"), (("GCP", signed(Interval(-0.0001, -0.02, 0.01))),), ())
    assert "Measured here; not in the paper." in as_html([own], {})
    assert "+0.0 [-2.0, +1.0]" in as_html([own], {})
    lines = as_markdown(tables, {}).splitlines()
    widths = {line.count(" | ") for line in lines if line.startswith("| ") and "rm-" in line and "−" not in line}
    assert len(widths) == 1


def test_every_row_of_the_tables_is_known() -> None:
    assert {"svdnet", "rest-gmp", "bot"} <= set(ROWS)


def test_notes_say_how_each_row_was_trained(finished: Study) -> None:
    table, _ = tables_of(finished, "table2")
    (line,) = [n for n in table.notes if n.startswith("Trained: ")]
    steps = read_history(finished.run_folder("gmp", 0))[-1]["step"]
    backbone = load_recipe(finished.run_folder("gmp", 0)).model.backbone
    assert line == f"Trained: {backbone} from random weights, 96 x 16, {steps} steps: gmp, rm-gmp."


@pytest.mark.parametrize(
    ("share", "collapsed"), [(1.0, True), (0.91, True), (1.09, True), (0.89, False), (1.12, False)]
)
def test_a_collapsed_training_is_marked_and_no_claim_rests_on_it(
    finished: Study, tmp_path: Path, share: float, collapsed: bool
) -> None:
    shutil.copytree(finished.folder, tmp_path / "copy")
    study = Study(tmp_path / "copy", finished.dataset, finished.budget)
    for row in ("gmp", "rm-gmp"):
        for seed in (0, 1):
            _set_triplet(study.run_folder(row, seed), share if (row, seed) == ("gmp", 1) else 0.5)
    table, claims = tables_of(study, "table2")
    found = record(table, row="gmp")
    assert found.get("collapsed", 0) == int(collapsed)
    assert any("gmp (seed 1). No claim rests" in n for n in table.notes) == collapsed
    claim = record(claims, better="rm-gmp", worse="gmp")
    assert (claim["seeds_better"], claim["seeds_worse"]) == (2, 1 if collapsed else 2)
    assert ("collapsed: 1 of 2" in str(table.cells)) == collapsed


def _set_triplet(folder: Path, share: float) -> None:
    """Let a training end with this share of the margin in each of the seven blocks."""
    path = folder / "metrics.jsonl"
    *earlier, last = path.read_text().splitlines()
    margin = load_recipe(folder).loss.margin
    text = json.dumps({**json.loads(last), "triplet": share * 7 * margin})
    path.write_text("\n".join([*earlier, text]) + "\n")
