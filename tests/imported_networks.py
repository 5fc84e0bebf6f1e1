"""Small networks from elsewhere, written by other programs than crosscam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

HEIGHT, WIDTH = 32, 16


class Stripes(nn.Module):
    """(B, 3, 32, 16) -> (B, 8): the left half of each stripe of the last channel: red where the order is BGR."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 16) -> (B, 8)."""
        left = images[:, 2, :, : WIDTH // 2] - 128
        rows: Tensor = left.reshape(-1, 8, 2 * WIDTH).mean(dim=2)
        return rows


def convolution() -> nn.Module:
    """(B, 3, 32, 16) -> (B, 6), random weights."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return layers.eval()


def write_onnx(module: nn.Module, path: Path, *, batch: int | None = None) -> Path:
    """The ONNX file of a module for 32 x 16 images; for any number of them, or for so many."""
    example = torch.zeros(batch or 2, 3, HEIGHT, WIDTH)
    free = {} if batch else {"pictures": {0: "n"}, "rows": {0: "n"}}
    names = {"input_names": ["pictures"], "output_names": ["rows"]}
    torch.onnx.export(module, (example,), path, **names, dynamic_axes=free, dynamo=False)
    return path


def write_people(folder: Path, *, people: int = 8, each: int = 3) -> Path:
    """A folder in Market-1501's naming whose people differ in the red stripes they wear; blue is noise."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for pid in range(1, people + 1):
        stripes = random.integers(0, 256, 8)
        for place in range(each):
            image = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            image[..., 0] = np.repeat(stripes, 4)[:, None]
            # Another level on either side of each stripe, so that in blue a mirror image is another image.
            image[..., 2] = np.repeat(np.repeat(random.integers(0, 256, (8, 2)), 4, axis=0), WIDTH // 2, axis=1)
            Image.fromarray(image).save(folder / f"{pid:04d}_c{place + 1}s1_{place:06d}_00.png")
    return folder


def plain_rows(run, paths: list[Path], *, bgr: bool = False, scale: float = 1.0) -> np.ndarray:
    """(N, D) of length 1 by a plain script: Pillow, one image at a time, and the mean with the mirror image."""
    rows = []
    for path in paths:
        image = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        numbers = np.asarray(image, np.float32).transpose(2, 0, 1)[None] * np.float32(scale)
        numbers = np.ascontiguousarray(numbers[:, ::-1] if bgr else numbers)
        row = (run(numbers) + run(np.ascontiguousarray(numbers[..., ::-1]))).reshape(-1) / 2
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)
