"""What a CUDA machine tells within ten minutes, most important first; each step is written as soon as it is done.

    python benchmarks/gpu.py pack Market-1501-v15.09.15 market.zip [--weights efficientnet-lite0.pth]
    python benchmarks/gpu.py run market.zip --out OUT [--epochs 30] [--claim-epochs 8] [--steps parity,speed]
    python benchmarks/gpu.py score OUT Market-1501-v15.09.15

``pack`` puts the training images (29 MB) and ImageNet's weights into one file, for a machine without a network.
``run``:

* parity: the head's fixtures from the authors' code (tests/models/parity), on the device in fp32;
* speed: a training step of RRID-F with ResNet-50 at 384 x 128 in bf16, compiled or not: images a second, share of the
  processor's peak (``--peak``, TFLOP/s), share of the time that waits for data;
* lite: RRID-F with EfficientNet-Lite0 on all training images;
* claims: the four rows that the paper's two claims compare, three seeds each.

Networks come back without classifiers, in half precision; ``score`` ranks the test on a CPU afterwards and writes
``benchmarks/results/gpu.json``. Without CUDA everything runs on the CPU: ``--toy`` is small enough for a test.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from crosscam.data.augment import augment
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset, Sample
from crosscam.experiments.scoring import TestImages
from crosscam.models.backbones.pretrained import packaged_file
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import recipe_from_json, recipe_to_json, with_settings
from crosscam.reproduce.paper_rows import ROWS
from crosscam.training.plan import build_optimizer
from crosscam.training.trainer import train

WEIGHTS = "imagenet.pth"
BACKBONE = "efficientnet-lite0"
CLAIM_ROWS = ("rrid-s", "rm-gap+gmp", "rm-gmp", "gmp")
CLAIM_SEEDS = 3
NAME = re.compile(r"([0-9]{4})_c([0-9])")
TOY = [
    "model.backbone=basic:stem=8,planes=8.8.8.8,out=8.8.8.8,depths=1.1.1.1",
    "model.pretrained=none",
    "model.dim=8",
    "data.width=32",
    "data.batch_ids=4",
    "data.batch_images=4",
    "train.epochs=1",
    "train.frozen_stages=0",
]


def pack(data: Path, out: Path, weights: Path | None) -> None:
    """Training images and ImageNet weights in one file."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for sample in read_dataset(data).train:
            file.write(sample.path, f"train/{sample.path.name}")
        file.write(weights or packaged_file(BACKBONE), WEIGHTS)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def unpacked(packed: Path, folder: Path) -> ReidDataset:
    """The training images of a packed file."""
    with zipfile.ZipFile(packed) as file:
        file.extractall(folder)
    samples = []
    for path in sorted((folder / "train").iterdir()):
        found = NAME.match(path.name)
        assert found is not None, path
        samples.append(Sample(path, int(found[1]), int(found[2])))
    return ReidDataset("market1501", folder, tuple(samples), (), ())


def parity(device: torch.device) -> dict[str, float]:
    """Largest relative difference from the authors' features and logits, evaluation and training; 2e-5 is asked for."""
    sys.path[:0] = [str(machine.ROOT / "tests" / "models")]
    import test_parity
    from parity_state import PARITY, authors_names, authors_state, feature_map

    state = authors_state({k: s for k, s in authors_names().items() if not k.startswith("base.")})
    inputs = torch.from_numpy(feature_map(8)).float().to(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found = {}
    with np.load(PARITY / "head.npz") as expected, torch.no_grad():
        for mode in ("eval", "train"):
            model = test_parity.build_head(state).to(device).train(mode == "train")
            output = model(inputs)
            features = torch.stack(output.embeddings).cpu().numpy()
            found[f"{mode} features"] = test_parity.relative(features, expected[f"n8_{mode}_features"])
            logits = test_parity.grouped_logits(tuple(x.cpu() for x in output.logits))
            for group, values in logits.items():
                found[f"{mode} {group}"] = test_parity.relative(values, expected[f"n8_{mode}_logits_{group}"])
    return found


def speed(device: torch.device, toy: bool, peak: float) -> dict[str, Any]:
    """Training steps of RRID-F; random images, so only the time counts."""
    recipe = with_settings(
        find_recipe("rrid-f"), [s for s in TOY if "frozen" not in s and "pretrained" not in s] if toy else []
    )
    recipe = with_settings(recipe, ["data.height=192"]) if toy else recipe
    data, batch = recipe.data, 4 if toy else 64
    kept = torch.randint(0, 256, (4 * batch, 128, 64, 3), dtype=torch.uint8)
    pids = (torch.arange(batch, device=device) // 4).long()
    generator, found = torch.Generator(device).manual_seed(0), {}
    for compiled in (False, True):
        if compiled and (toy or device.type == "cpu"):
            continue
        model = build_model(recipe, 751, pretrained=False).to(device, memory_format=torch.channels_last).train()
        run, optimizer = (torch.compile(model) if compiled else model), build_optimizer(model, recipe.optim)
        waited = 0.0

        def step(run: Any = run, optimizer: Any = optimizer) -> None:
            nonlocal waited
            began = time.perf_counter()
            pixels = kept[torch.randint(0, len(kept), (batch,))].to(device, non_blocking=True)
            waited += time.perf_counter() - began
            images = augment(pixels, data.height, data.width, data.augment, generator)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                output = run(images.contiguous(memory_format=torch.channels_last))
            recipe.loss.compute(output, pids).total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        rounds = 2 if toy else 30
        for _ in range(1 if toy else 5):
            step()
        waited = 0.0
        took = machine.seconds(
            lambda step=step, rounds=rounds: synchronised(device, lambda: [step() for _ in range(rounds)])
        )
        with FlopCounterMode(display=False) as counter:
            step()
        flops = counter.get_total_flops() * rounds / took
        found["compiled" if compiled else "eager"] = {
            "images_per_second": batch * rounds / took,
            "share_of_peak": flops / (peak * 1e12),
            "share_waiting_for_data": waited / took,
        }
    return found


def synchronised(device: torch.device, work: Callable[[], object]) -> None:
    """Work, and the end of what it queued on the device."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def trained(recipe: Recipe, dataset: ReidDataset, out: Path, name: str) -> dict[str, Any]:
    """Train, and keep the network without classifiers in half precision."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model = train(recipe, dataset, Path(folder) / "run")
        last = json.loads((Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    kept = {k: v.detach().cpu() for k, v in model.state_dict().items() if "classifier" not in k}
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in kept.items()}
    save_file(half, out / f"{name}.safetensors", metadata={"recipe": recipe_to_json(recipe)})
    return {"seconds": time.perf_counter() - began, **last}


def lite_recipe(epochs: int, weights: Path, toy: bool, base: str = "rrid-f-lite") -> Recipe:
    """RRID-F with EfficientNet-Lite0 from ImageNet, at the paper's input size."""
    settings = [
        f"model.backbone={BACKBONE}",
        f"model.pretrained={weights}",
        "data.height=384",
        "data.width=128",
        "train.frozen_stages=0",
        f"train.epochs={epochs}",
    ]
    return with_settings(find_recipe(base), [*settings, "data.height=192", *TOY] if toy else settings)


def claims(dataset: ReidDataset, weights: Path, out: Path, epochs: int, toy: bool) -> None:
    """The rows of the two claims, seed by seed."""
    base = lite_recipe(epochs, weights, toy, "rrid-s-lite")
    for seed in range(1 if toy else CLAIM_SEEDS):
        for row in CLAIM_ROWS:
            paper: Any = ROWS[row].recipe
            model = replace(
                paper.model, backbone=base.model.backbone, pretrained=base.model.pretrained, dim=base.model.dim
            )
            loss = replace(base.loss, cross_entropy_weight=paper.loss.cross_entropy_weight)
            recipe = replace(base, name=row, model=model, loss=loss, train=replace(base.train, seed=seed))
            write(out, f"claims-{row}-{seed}", trained(recipe, dataset, out, f"claims-{row}-{seed}"))


def write(out: Path, name: str, values: dict[str, Any]) -> None:
    """A step's figures, at once."""
    (out / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    print(name, json.dumps(values), flush=True)


def run(options: argparse.Namespace) -> None:
    """All steps, in order."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else machine.processor()
    write(out, "machine", {"device": name, "torch": torch.__version__, "commit": machine.commit()})
    with tempfile.TemporaryDirectory() as folder:
        dataset = unpacked(options.packed, Path(folder))
        weights = Path(folder) / WEIGHTS
        steps: dict[str, Callable[[], None]] = {
            "parity": lambda: write(out, "parity", parity(device)),
            "speed": lambda: write(out, "speed", speed(device, options.toy, options.peak)),
            "lite": lambda: write(
                out, "lite", trained(lite_recipe(options.epochs, weights, options.toy), dataset, out, "lite")
            ),
            "claims": lambda: claims(dataset, weights, out, options.claim_epochs, options.toy),
        }
        for step in options.steps.split(","):
            steps[step]()


def score(out: Path, data: Path) -> None:
    """Rank the test with every network that came back."""
    dataset, found = read_dataset(data), {p.stem: json.loads(p.read_text()) for p in sorted(out.glob("*.json"))}
    for path in sorted(out.glob("*.safetensors")):
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            recipe = recipe_from_json(file.metadata()["recipe"])
        model = build_model(recipe, 0, pretrained=False)
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
        result = TestImages(dataset, recipe).score(model.eval()).result
        found[path.stem] = found.get(path.stem, {}) | {"mAP": result.mAP, "rank1": result.rank1}
        print(f"{path.stem}: mAP {100 * result.mAP:.1f}, rank-1 {100 * result.rank1:.1f}")
    machine.write("gpu", found)


def main() -> None:
    """Pack, run or score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("data", type=Path)
    packing.add_argument("out", type=Path)
    packing.add_argument("--weights", type=Path)
    running = commands.add_parser("run")
    running.add_argument("packed", type=Path)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--epochs", type=int, default=30)
    running.add_argument("--claim-epochs", type=int, default=8)
    running.add_argument("--steps", default="parity,speed,lite,claims")
    running.add_argument("--peak", type=float, default=790.0)
    running.add_argument("--toy", action="store_true")
    scoring = commands.add_parser("score")
    scoring.add_argument("out", type=Path)
    scoring.add_argument("data", type=Path)
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.data, options.out, options.weights)
    elif options.command == "run":
        run(options)
    else:
        score(options.out, options.data)


if __name__ == "__main__":
    main()
