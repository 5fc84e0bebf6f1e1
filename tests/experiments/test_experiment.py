"""One experiment from start to end on a tiny dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crosscam.data.images import decode_image
from crosscam.data.records import ReidDataset, camids_of, pids_of
from crosscam.errors import CheckpointError, DataError, RecipeError
from crosscam.experiments.experiment import (
    REPORT,
    SCORES,
    run_experiment,
    save_scores,
    strips_of,
    train,
    untrained_model,
)
from crosscam.experiments.scoring import Scored, TestImages, ranking_labels
from crosscam.inference.describing import load_model
from crosscam.inference.extractor import Extractor
from crosscam.metrics.ranking import evaluate_ranking
from crosscam.models.baselines.aligned_reid import aligned_distances
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.checkpoint import load_weights
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from crosscam.report.page import ReportContent, render_report
from crosscam.report.strips import RankStrip
from crosscam.retrieval.cross_neighborhoods import CrossNeighborhoods, rerank_ecn
from crosscam.retrieval.distances import pairwise_distances
from crosscam.retrieval.expansion import Expansion, expand_queries
from crosscam.retrieval.reranking import Reranking, rerank
from crosscam.training.callbacks import Listeners, StepReport, read_history
from crosscam.training.run import RunState

SETTINGS = [
    "name=small",
    "model.backbone=basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1",
    "model.scales=2",
    "model.dim=16",
    "data.height=64",
    "data.width=32",
    "data.batch_ids=4",
    "data.batch_images=2",
    "train.epochs=2",
    "train.precision=fp32",
    "evaluation.every=1",
]


def small_recipe(*settings: str) -> Recipe:
    return with_settings(find_recipe("demo"), [*SETTINGS, *settings])


@pytest.fixture(scope="module")
def finished(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Scored]]:
    folder = tmp_path_factory.mktemp("experiment") / "run"
    return folder, run_experiment(small_recipe(), rendered, folder, provenance={"command": "a test"})


def test_an_experiment_scores_the_trained_the_untrained_and_the_pixels(
    rendered: ReidDataset, finished: tuple[Path, list[Scored]]
) -> None:
    folder, scores = finished
    assert [s.name for s in scores] == ["trained", "untrained", "raw pixels"]
    saved = json.loads((folder / SCORES).read_text())
    assert [s["name"] for s in saved] == ["trained", "untrained", "raw pixels"]
    for row, scored in zip(saved, scores, strict=True):
        assert row["mAP"] == scored.result.mAP
        assert row["data_fingerprint"] == rendered.fingerprint()
        assert row["reranking"] is None
        assert scored.query.shape[0] == len(rendered.query)
        assert scored.gallery.shape[0] == len(rendered.gallery)
        np.testing.assert_allclose(np.linalg.norm(scored.gallery, axis=1), 1, atol=1e-5)
    assert [row["flip"] for row in saved] == [True, True, False]
    assert len({row["mAP"] for row in saved}) == 3


def test_the_saved_scores_are_those_of_evaluating_the_folder_again(
    rendered: ReidDataset, finished: tuple[Path, list[Scored]]
) -> None:
    folder, scores = finished
    again = TestImages(rendered, small_recipe()).score(load_model(folder, small_recipe()))
    assert again.to_dict() == scores[0].to_dict()
    assert again.to_dict() == json.loads((folder / SCORES).read_text())[0]
    # And the same by hand: descriptors of the files, plain distances.
    extractor = Extractor.load(folder)
    query, gallery = (extractor([s.path for s in samples]) for samples in (rendered.query, rendered.gallery))
    distances = np.sqrt(((query[:, None].astype(np.float64) - gallery[None]) ** 2).sum(2))
    result = evaluate_ranking(
        distances,
        pids_of(rendered.query),
        pids_of(rendered.gallery),
        camids_of(rendered.query),
        camids_of(rendered.gallery),
    )
    assert result.mAP == pytest.approx(scores[0].result.mAP, abs=0.02)
    # The last line of the history was scored in training, on the same weights.
    last = read_history(folder)[-1]
    assert last["mAP"] == pytest.approx(scores[0].result.mAP, abs=1e-6)
    assert last["rank1"] == pytest.approx(scores[0].result.rank1, abs=1e-6)


def test_training_by_a_function_is_the_same_experiment(
    rendered: ReidDataset, tmp_path: Path, finished: tuple[Path, list[Scored]], capfd: pytest.CaptureFixture[str]
) -> None:
    scores = train("demo", rendered.root, tmp_path / "run", settings=SETTINGS, progress=False)
    assert capfd.readouterr() == ("", "")
    assert [s.to_dict() for s in scores] == [s.to_dict() for s in finished[1]]
    again = train(small_recipe(), rendered, str(tmp_path / "run"), resume=True)
    assert [s.to_dict() for s in again] == [s.to_dict() for s in scores]
    with pytest.raises(CheckpointError, match="already holds a training"):
        train(small_recipe(), rendered, tmp_path / "run", progress=False)
    with pytest.raises(RecipeError, match="No recipe 'dem'"):
        train("dem", rendered, tmp_path / "other", progress=False)
    with pytest.raises(DataError, match="No dataset at"):
        train("demo", tmp_path / "gone", tmp_path / "other", progress=False)


def test_training_by_a_function_tells_of_its_progress(
    rendered: ReidDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train("demo", rendered, tmp_path / "run", settings=[s.replace("epochs=2", "epochs=1") for s in SETTINGS])
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 1: loss" in err
    assert rendered.notes[0] in err


def test_a_training_tells_of_tested_people_that_it_learned(rendered: ReidDataset, tmp_path: Path) -> None:
    known, told = rendered.train[0], list[str]()
    mixed = replace(rendered, query=(known, *rendered.query), gallery=(*rendered.gallery, *rendered.train[1:6]))
    recipe, listeners = small_recipe("train.epochs=1"), Listeners(note=told.append)
    run_experiment(recipe, mixed, tmp_path / "run", listeners=listeners)
    assert sum("tested people trained this network" in note for note in told) == 1
    told.clear()
    run_experiment(recipe, rendered, tmp_path / "other", listeners=listeners)
    assert not any("tested people" in note for note in told)


def test_scores_say_what_they_are(finished: tuple[Path, list[Scored]]) -> None:
    scored = finished[1][0]
    result = scored.result
    shown = repr(result)
    assert shown.startswith(f"RankingResult(mAP {100 * result.mAP:.1f} %, rank-1 {100 * result.rank1:.1f} %, rank-5 ")
    assert shown.endswith(f"{result.num_queries} queries, market1501, step)")
    assert repr(scored) == f"Scored('trained', {shown}, data {scored.data_fingerprint[:4]}...)"
    pytest.importorskip("pyarrow")
    table = result.to_arrow()
    np.testing.assert_array_equal(table.column("average_precision").to_numpy(), result.average_precision)
    assert table.column("first_match").to_pylist() == [rank or None for rank in result.first_match.tolist()]


def test_the_report_is_one_page_with_scores_and_provenance(
    rendered: ReidDataset, finished: tuple[Path, list[Scored]]
) -> None:
    page = (finished[0] / REPORT).read_text(encoding="utf-8")
    for text in ("small on rendered", "untrained", "raw pixels", rendered.fingerprint(), "a test"):
        assert text in page, text
    assert f"{100 * finished[1][0].result.mAP:.1f}" in page
    assert "data:image/" in page
    assert 'src="http' not in page


def test_raw_pixels_are_small_centred_images_of_unit_length(
    rendered: ReidDataset, finished: tuple[Path, list[Scored]]
) -> None:
    pixels = finished[1][2].query
    assert pixels.shape == (len(rendered.query), 3 * 64 * 32)
    for sample, row in zip(rendered.query[:3], pixels, strict=False):
        image = decode_image(sample.path).astype(np.float64)
        # Each pixel of the small image stands for about two by two of the large one.
        shrunk = image.reshape(64, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1).reshape(-1)
        shrunk -= shrunk.mean()
        assert row @ shrunk / np.linalg.norm(shrunk) > 0.98
    np.testing.assert_allclose(pixels.mean(axis=1), 0, atol=1e-6)


def test_the_untrained_model_is_the_trained_one_before_its_first_step(rendered: ReidDataset, tmp_path: Path) -> None:
    recipe = small_recipe("train.seed=5")
    torch.rand(3)
    run = RunState(recipe, rendered, tmp_path)
    run.start()
    started = run.model.state_dict()
    torch.rand(5)
    untrained = untrained_model(recipe, run.num_ids)
    assert not untrained.training
    found = untrained.state_dict()
    assert started.keys() == found.keys()
    assert all(torch.equal(started[name], found[name]) for name in started)


def test_a_stopped_experiment_goes_on_and_gets_the_same_scores(
    rendered: ReidDataset, tmp_path: Path, finished: tuple[Path, list[Scored]]
) -> None:
    class Interruption(Exception):
        pass

    def step(report: StepReport) -> None:
        if (report.epoch, report.batch) == (2, 2):
            raise Interruption

    with pytest.raises(Interruption):
        run_experiment(small_recipe(), rendered, tmp_path, listeners=Listeners(step=step))
    assert not (tmp_path / SCORES).exists()
    scores = run_experiment(small_recipe(), rendered, tmp_path, resume=True)
    assert [s.to_dict() for s in scores] == [s.to_dict() for s in finished[1]]
    weights = [load_weights(folder) for folder in (tmp_path, finished[0])]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_re_ranking_scores_the_same_descriptors(rendered: ReidDataset, finished: tuple[Path, list[Scored]]) -> None:
    test, parameters = TestImages(rendered, small_recipe()), Reranking(k1=6, k2=2, lambda_value=0.5)
    found = test.reranked(finished[1][0], parameters)
    plain = finished[1][0]
    distances = rerank(plain.query, plain.gallery, k1=6, k2=2, lambda_value=0.5)
    expected = evaluate_ranking(
        distances,
        pids_of(rendered.query),
        pids_of(rendered.gallery),
        camids_of(rendered.query),
        camids_of(rendered.gallery),
    )
    assert found.result.mAP == expected.mAP
    assert found.to_dict()["reranking"] == "k-reciprocal, k1=6, k2=2, lambda=0.5"
    assert found.result.mAP != plain.result.mAP


def test_cross_neighborhoods_score_the_same_descriptors(
    rendered: ReidDataset, finished: tuple[Path, list[Scored]]
) -> None:
    plain = finished[1][0]
    found = TestImages(rendered, small_recipe()).reranked(plain, CrossNeighborhoods(k=6, t=2, q=2))
    distances = rerank_ecn(plain.query, plain.gallery, k=6, t=2, q=2)
    assert found.result.mAP == evaluate_ranking(distances, *ranking_labels(rendered)).mAP
    assert found.result.mAP != plain.result.mAP
    assert found.to_dict()["reranking"] == "expanded cross neighborhoods, k=6, t=2, q=2"


def test_expanded_queries_are_scored_beside_the_plain_ones(
    rendered: ReidDataset, finished: tuple[Path, list[Scored]]
) -> None:
    plain = finished[1][0]
    found = TestImages(rendered, small_recipe()).reranked(plain, Expansion(k=3, alpha=1.0))
    query = expand_queries(plain.query, plain.gallery, k=3, alpha=1.0)
    expected = evaluate_ranking(pairwise_distances(query, plain.gallery), *ranking_labels(rendered))
    assert found.result.mAP == pytest.approx(expected.mAP)
    assert found.result.mAP != plain.result.mAP
    assert (found.name, found.to_dict()["reranking"]) == ("trained, expanded", "query expansion, k=3, alpha=1")


def test_what_is_asked_for_comes_before_the_recipe(rendered: ReidDataset, finished: tuple[Path, list[Scored]]) -> None:
    test, model = TestImages(rendered, small_recipe()), load_model(finished[0], small_recipe())
    single = test.score(model, flip=False, ap="trapezoid")
    assert single.to_dict()["flip"] is False
    assert single.to_dict()["ap"] == "trapezoid"
    assert not np.allclose(single.query, finished[1][0].query, atol=1e-5)


@pytest.mark.parametrize("subset", ["query", "gallery"])
def test_without_a_test_split_nothing_is_scored(rendered: ReidDataset, tmp_path: Path, subset: str) -> None:
    dataset = replace(rendered, **{subset: ()})
    with pytest.raises(DataError, match=f"The {subset} of .* is empty"):
        TestImages(dataset, small_recipe())
    assert run_experiment(small_recipe("train.epochs=1"), dataset, tmp_path) == []
    assert (tmp_path / "weights.safetensors").exists()
    assert not (tmp_path / SCORES).exists()
    assert "mAP" not in read_history(tmp_path)[0]


def test_strips_show_queries_that_were_scored(rendered: ReidDataset, finished: tuple[Path, list[Scored]]) -> None:
    layout = load_model(finished[0], small_recipe()).layout
    # One query without a match in the gallery: its average precision is not a number.
    lonely = rendered.query[0].pid
    dataset = replace(rendered, gallery=tuple(s for s in rendered.gallery if s.pid != lonely))
    scored = TestImages(dataset, small_recipe()).score(load_model(finished[0], small_recipe()))
    assert np.isnan(scored.result.average_precision).any()
    strips = strips_of(dataset, scored, small_recipe(), layout)
    assert {s.kind for s in strips} == {"hardest", "easiest"}
    assert lonely not in {s.query.pid for s in strips}
    by_query = dict(zip([s.path for s in dataset.query], scored.result.average_precision, strict=True))
    for strip in strips:
        assert strip.average_precision == by_query[strip.query.path]
    assert strips[0].average_precision == np.nanmin(scored.result.average_precision)


def test_scores_are_written_whole(finished: tuple[Path, list[Scored]], tmp_path: Path) -> None:
    save_scores(tmp_path / "scores.json", finished[1][:1])
    assert json.loads((tmp_path / "scores.json").read_text()) == [finished[1][0].to_dict()]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def assert_ranked_by(distances: NDArray[np.floating], strips: Sequence[RankStrip], dataset: ReidDataset) -> None:
    """Every strip shows the first images of a ranking by these (Q, G) distances, found by a plain loop."""
    for strip in strips:
        row = distances[dataset.query.index(strip.query)]
        kept = [
            (float(row[g]), s.path)
            for g, s in enumerate(dataset.gallery)
            if s.pid != -1 and (s.pid, s.camid) != (strip.query.pid, strip.query.camid)
        ]
        expected = sorted(kept, key=lambda pair: pair[0])[: len(strip.matches)]
        assert [m.sample.path for m in strip.matches] == [path for _, path in expected]
        assert [m.distance for m in strip.matches] == pytest.approx([d for d, _ in expected], abs=1e-5)


def test_a_system_with_a_distance_of_its_own_is_ranked_by_it(rendered: ReidDataset) -> None:
    recipe = with_settings(
        find_recipe("aligned-reid"),
        [
            "model.backbone=basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1",
            "model.num_parts=4",
            "model.keep_local=true",
            "data.height=128",
            "data.width=64",
        ],
    )
    model = untrained_model(recipe, 4)
    test = TestImages(rendered, recipe)
    scored = test.score(model)
    query, gallery = torch.from_numpy(scored.query), torch.from_numpy(scored.gallery)
    distances = aligned_distances(query, gallery, model.layout)
    expected = evaluate_ranking(distances, *ranking_labels(rendered))
    assert scored.result.mAP == expected.mAP
    assert scored.to_dict()["distance"] == "own"
    strips = strips_of(rendered, scored, recipe, model.layout)
    assert_ranked_by(distances.numpy(), strips, rendered)
    # The nearest by the Euclidean distance is another one somewhere, or this would show nothing.
    near = torch.cdist(query, gallery).numpy()
    with pytest.raises(AssertionError):
        assert_ranked_by(near, strips, rendered)
    page = render_report(ReportContent("a", "b", [scored.row()], strips=strips))
    assert "Ranked by the system's own distance" in page.replace("&#39;", "'")
    assert "the bars add up to the squared Euclidean distance, which does not rank here" in page
    asked = test.rank(model, "asked", scored.query, scored.gallery, flip=True, ap="trapezoid").result
    assert (asked.ap, asked.mAP) == (
        "trapezoid",
        evaluate_ranking(distances, *ranking_labels(rendered), ap="trapezoid").mAP,
    )
    assert asked.mAP != scored.result.mAP
    euclidean = evaluate_ranking(torch.cdist(query, gallery), *ranking_labels(rendered))
    assert scored.result.mAP != euclidean.mAP
    with pytest.raises(DataError, match="a distance of its own"):
        test.reranked(scored, Reranking())
    # Without the local features the distance is Euclidean, as for every other system.
    plain = with_settings(recipe, ["model.keep_local=false"])
    assert TestImages(rendered, plain).score(untrained_model(plain, 4)).distance == "euclidean"
