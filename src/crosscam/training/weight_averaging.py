"""Stochastic weight averaging: the last epochs end in the equal mean of their weights.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from crosscam.data.loading import Images
from crosscam.data.resizing import prepare
from crosscam.inference.describing import FIT_IMAGES
from crosscam.training.plan import freeze_stages
from crosscam.training.run import RunState


def average_epoch(run: RunState, images: Images) -> None:
    """Take the weights at the end of an epoch into the mean, if it is one of the last ``train.swa_epochs``.

    Its batch normalization then gets statistics of its own, for each epoch leaves weights that may be used.

    Args:
        run: the training; its ``average`` is changed.
        images: of the training.
    """
    train = run.recipe.train
    count = run.epoch - (train.epochs - train.swa_epochs)
    if not train.swa_epochs or count < 1:
        return
    weights = run.model.state_dict()
    if run.average is None or count == 1:
        run.average = {name: value.clone() for name, value in weights.items()}
    for name, value in weights.items():
        if value.dtype.is_floating_point:
            run.average[name].lerp_(value, 1 / count)
        else:
            run.average[name].copy_(value)
    _renew_statistics(run, images)


@torch.no_grad()
def _renew_statistics(run: RunState, images: Images) -> None:
    """Means and variances of batch normalization under the mean weights, over at most ``FIT_IMAGES`` training images.

    Images come without augmentation, as they do when the network is used; frozen stages keep their statistics.
    """
    assert run.average is not None
    model = deepcopy(run.model)
    model.load_state_dict(run.average)
    model.train()
    freeze_stages(model, run.recipe)
    norms = [(name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training]
    model.eval()
    for _, norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # equal weight for each batch
        norm.train()
    data, count = run.recipe.data, len(run.labels)
    chosen = np.random.default_rng([run.recipe.train.seed, count]).permutation(count)[:FIT_IMAGES]
    # Of nearly one size: a batch of one image has no variance.
    order = np.array_split(chosen, -(-len(chosen) // max(2, data.batch_ids * data.batch_images)))
    for pixels in images.batches(order):
        model(prepare(pixels.to(run.world.device), data.height, data.width))
    for prefix, norm in norms:
        for name, value in norm.named_buffers():
            run.average[f"{prefix}.{name}"].copy_(value)
