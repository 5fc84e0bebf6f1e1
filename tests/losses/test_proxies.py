"""The losses and the memory against loops that are written as the equations are."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from crosscam.losses.proxies import cluster_contrast, inter_camera, intra_camera, update_memory

TAU = 0.07


def example() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    # Proxies: three clusters; the first is seen by three cameras, the last by one.
    clusters = torch.tensor([0, 0, 0, 1, 1, 2])
    cameras = torch.tensor([1, 2, 5, 1, 2, 5])
    targets = torch.tensor([0, 3, 1, 5, 0])
    features, memory = normalize(torch.randn(5, 8).double()), normalize(torch.randn(6, 8).double())
    return features, memory, targets, cameras, clusters


def similarity(features: torch.Tensor, memory: torch.Tensor, i: int, p: int) -> float:
    return math.exp(float(features[i] @ memory[p]) / TAU)


def test_cluster_contrast() -> None:
    features, memory, targets, _, _ = example()
    expected = 0.0
    for i, target in enumerate(targets.tolist()):
        every = [similarity(features, memory, i, p) for p in range(6)]
        expected -= math.log(every[target] / sum(every)) / 5
    assert math.isclose(float(cluster_contrast(features, memory, targets, TAU)), expected, rel_tol=1e-9)


def test_intra_camera_looks_at_one_camera_at_a_time() -> None:
    features, memory, targets, cameras, _ = example()
    expected = 0.0
    for camera in (1, 2, 5):
        images = [i for i in range(5) if cameras[targets[i]] == camera]
        for i in images:
            own = [similarity(features, memory, i, p) for p in range(6) if cameras[p] == camera]
            expected -= math.log(similarity(features, memory, i, int(targets[i])) / sum(own)) / len(images)
    assert math.isclose(float(intra_camera(features, memory, targets, cameras, TAU)), expected, rel_tol=1e-9)


def test_inter_camera_pulls_to_all_proxies_of_the_cluster_and_from_the_hardest_others() -> None:
    features, memory, targets, cameras, clusters = example()
    for hard in (2, 50):
        expected = 0.0
        for camera in (1, 2, 5):
            images = [i for i in range(5) if cameras[targets[i]] == camera]
            for i in images:
                ours = [p for p in range(6) if clusters[p] == clusters[targets[i]]]
                others = sorted((similarity(features, memory, i, p) for p in range(6) if p not in ours), reverse=True)
                whole = sum(similarity(features, memory, i, p) for p in ours) + sum(others[:hard])
                terms = [math.log(similarity(features, memory, i, p) / whole) for p in ours]
                expected -= sum(terms) / len(terms) / len(images)
        found = inter_camera(features, memory, targets, cameras, clusters, TAU, hard)
        assert math.isclose(float(found), expected, rel_tol=1e-9)


def test_gradients_reach_the_images_and_are_finite() -> None:
    features, memory, targets, cameras, clusters = example()
    features.requires_grad_()
    total = intra_camera(features, memory, targets, cameras) + inter_camera(
        features, memory, targets, cameras, clusters, hard=1
    )
    total.backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert (features.grad.abs().sum(dim=1) > 0).any()


def test_the_memory_moves_image_by_image() -> None:
    features, memory, targets, _, _ = example()
    before = memory.clone()
    update_memory(memory, features, targets, 0.2)
    first = 0.2 * before[0] + 0.8 * features[0]
    first = first / first.norm()
    second = 0.2 * first + 0.8 * features[4]  # the fifth image is of the same proxy as the first
    assert torch.allclose(memory[0], second / second.norm())
    assert torch.equal(memory[[2, 4]], before[[2, 4]])
    assert torch.allclose(memory.norm(dim=1), torch.ones(6).double())
