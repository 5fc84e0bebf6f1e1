from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.records import JUNK_PID, ReidDataset, pids_of
from crosscam.errors import CrosscamError
from crosscam.experiments.experiment import untrained_model
from crosscam.experiments.scoring import TestImages, distances_of
from crosscam.explain.activation import place_contributions, stripe_shares
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings
from crosscam.report.comparison import NOTE, _font, _wrapped
from crosscam.reproduce.figures import Figure, NamedModel, choose_queries, figure_activation, figure_strips
from small_models import TINY, tiny_rrid


@pytest.fixture(scope="module")
def models() -> list[NamedModel]:
    kinds = {"both": ("one_vs_rest", 1), "rest": ("rest_only", 2), "none": ("none", 3)}
    return [NamedModel(name, *tiny_rrid(kind, seed=seed)) for name, (kind, seed) in kinds.items()]


@pytest.fixture(scope="module")
def strips(models: list[NamedModel], rendered: ReidDataset) -> Figure:
    return figure_strips(models, rendered, queries=4, top=3)


@pytest.fixture(scope="module")
def activation(models: list[NamedModel], rendered: ReidDataset) -> Figure:
    return figure_activation(models[0], models[1], rendered, part=2, num_parts=3, queries=2, top=2)


AP = np.array([[0.5, 0.9, 0.1, np.nan, 0.3, 0.4], [0.4, 0.2, 0.9, 0.5, 0.3, 0.1]])
PIDS = np.array([1, 2, 2, 3, 4, 5])


def test_half_of_the_queries_differ_most_and_each_person_comes_once():
    chosen = choose_queries(AP, PIDS, 4, seed=0)
    # 0.8 and 0.7 are both person 2; then comes person 5 with 0.3.
    assert chosen[:2] == [(2, "differing"), (5, "differing")]
    assert {kind for _, kind in chosen[2:]} == {"random"}
    assert {q for q, _ in chosen[2:]} == {0, 4}
    assert choose_queries(AP, PIDS, 4, seed=0) == chosen


def test_queries_that_were_not_scored_are_never_shown_and_all_others_can_be():
    chosen = choose_queries(AP, PIDS, 99, seed=1)
    assert sorted(q for q, _ in chosen) == [0, 1, 2, 4, 5]


def test_the_random_half_depends_on_the_seed_alone():
    ap = np.random.default_rng(0).random((2, 60))
    pids = np.arange(60)
    one, other = (choose_queries(ap, pids, 10, seed) for seed in (0, 1))
    assert one[:5] == other[:5]
    assert one[5:] != other[5:]
    # Whichever model is better, the choice is the same.
    assert choose_queries(ap[::-1], pids, 10, 0) == one


@pytest.mark.parametrize("seed", range(8))
def test_the_random_half_shows_other_people_while_there_are_any(seed: int):
    ap = np.array([[0.9, 0.8, 0.7, 0.5, 0.5], [0.0, 0.0, 0.0, 0.5, 0.5]])
    chosen = choose_queries(ap, np.array([1, 1, 2, 3, 1]), 3, seed)
    assert [q for q, _ in chosen] == [0, 2, 3]


def test_one_model_alone_differs_from_nobody():
    assert {kind for _, kind in choose_queries(AP[1:], PIDS, 4, seed=0)} == {"random"}


def test_each_model_is_ranked_as_its_own_recipe_says(models: list[NamedModel], rendered: ReidDataset) -> None:
    """Also where networks of one input size differ in how they are ranked: images agree with the scores."""
    changes = [
        "data.height=96",
        "data.width=32",
        "model.num_parts=3",
        "model.keep_local=true",
        f"model.backbone={TINY}",
    ]
    recipe = with_settings(find_recipe("aligned-reid"), changes)
    aligned = NamedModel("own", untrained_model(recipe, 4), recipe)
    for order in ([models[0], aligned], [aligned, models[0]]):
        data = figure_strips(order, rendered, queries=4, top=3).data
        assert {s["name"]: s["distance"] for s in data["scores"]} == {"both": "euclidean", "own": "own"}
        for named in order:
            scored = TestImages(rendered, named.recipe).score(named.model)
            distances = distances_of(named.recipe, layout_of(named.model), scored.query, scored.gallery)
            for entry in data["queries"]:
                q = next(k for k, s in enumerate(rendered.query) if s.path.name == entry["query"])
                other = [
                    (distances[q, g], s.path.name)
                    for g, s in enumerate(rendered.gallery)
                    if s.pid != JUNK_PID and (s.pid, s.camid) != (entry["pid"], entry["camid"])
                ]
                assert entry["models"][named.name]["matches"] == [name for _, name in sorted(other)[:3]]


def test_all_models_answer_the_same_queries(strips: Figure, rendered: ReidDataset):
    shown = strips.data["queries"]
    assert len(shown) == 4
    pid_of = {s.path.name: s.pid for s in rendered.gallery}
    for entry in shown:
        assert list(entry["models"]) == ["both", "rest", "none"]
        for found in entry["models"].values():
            assert len(found["matches"]) == 3
            assert found["correct"] == [pid_of[name] == entry["pid"] for name in found["matches"]]
    assert [s["name"] for s in strips.data["scores"]] == ["both", "rest", "none"]


def test_the_matches_are_those_of_a_naive_ranking(strips: Figure, models: list[NamedModel], rendered: ReidDataset):
    from crosscam.inference.extractor import Extractor

    extractor = Extractor(models[1].model, models[1].recipe)
    query, gallery = (extractor.files([s.path for s in samples]) for samples in (rendered.query, rendered.gallery))
    for entry in strips.data["queries"]:
        q = [s.path.name for s in rendered.query].index(entry["query"])
        kept = [
            (float(np.linalg.norm(query[q] - gallery[g])), s.path.name)
            for g, s in enumerate(rendered.gallery)
            if s.pid != -1 and (s.pid, s.camid) != (entry["pid"], entry["camid"])
        ]
        assert entry["models"]["rest"]["matches"] == [name for _, name in sorted(kept)[:3]]


def test_the_page_states_how_the_queries_were_chosen(strips: Figure):
    assert "differs most, in either direction" in strips.html
    assert "drawn at random (seed 0)" in strips.html
    assert strips.html.count('<li class="tile right">') + strips.html.count('<li class="tile wrong">') == 4 * 3 * 3


def test_figure_6_counts_what_it_shows(activation: Figure, models: list[NamedModel], rendered: ReidDataset):
    both, rest, less = activation.data["focus"]
    assert (both["name"], rest["name"], less["name"]) == ("both", "rest", "difference")
    assert rest["outside"] == [1, 1, 1]
    assert 0 < both["outside"][1] <= both["outside"][0] <= both["outside"][2] < 1
    for row in (both, rest):
        assert sum(s[0] for s in row["stripes"]) == pytest.approx(1)
        assert sum(s[0] for s in row["rest"] if s) == pytest.approx(1)
        assert row["outside"][0] == pytest.approx(1 - row["stripes"][1][0])
        assert row["images"] == len(rendered.query)
    assert less["outside"][0] == pytest.approx(both["outside"][0] - rest["outside"][0])
    # The mean of the first stripe's share, straight from the maps.
    from crosscam.data.loading import open_images
    from crosscam.data.resizing import prepare

    images = open_images([s.path for s in rendered.query], 96, 32)
    (pixels,) = images.batches([np.arange(len(images))])
    model = models[0].model
    places = place_contributions(model, prepare(pixels, 96, 32), [model.layout[1]], branch="residual")
    assert both["stripes"][0][0] == pytest.approx(float(stripe_shares(places[:, 0], 3)[:, 0].mean()), rel=1e-4)


def test_figure_6_says_what_its_construction_decides(activation: Figure):
    assert "by construction" in activation.html
    assert activation.html.count('class="query-map"') == 2 * 2


def test_the_files_are_written_and_can_be_read(activation: Figure, tmp_path: Path):
    activation.write(tmp_path / "new", "figure6")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["figure6.html", "figure6.json", "figure6.png"]
    with Image.open(tmp_path / "new/figure6.png") as image:
        assert image.format == "PNG"
        assert image.size == activation.image.size
    assert json.loads((tmp_path / "new/figure6.json").read_text())["part"] == 2
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CrosscamError, match="Cannot write"):
        activation.write(tmp_path / "file", "figure6")


def test_the_note_of_a_narrow_image_is_broken_into_lines():
    words = "Queries: the 4 on which the models differ most, and 4 drawn at random."
    lines = _wrapped(words, 160)
    assert " ".join(lines) == words
    assert len(lines) > 1
    assert max(_font(NOTE).getlength(line) for line in lines) <= 160
    assert _wrapped(words, 2000) == [words]


def test_what_cannot_be_drawn_is_refused(models: list[NamedModel], rendered: ReidDataset):
    with pytest.raises(ValueError, match="different names"):
        figure_strips([models[0], models[0]], rendered)
    with pytest.raises(ValueError, match="no stripe 9 of 3"):
        figure_activation(models[0], models[1], rendered, part=9, num_parts=3)
    with pytest.raises(ValueError, match="no relation"):
        figure_activation(models[0], models[2], rendered, part=1, num_parts=3)


def test_the_data_names_no_folder(strips: Figure, rendered: ReidDataset):
    assert str(rendered.root) not in json.dumps(strips.data)
    assert str(rendered.root) not in strips.html
    assert set(pids_of(rendered.query)) >= {entry["pid"] for entry in strips.data["queries"]}
