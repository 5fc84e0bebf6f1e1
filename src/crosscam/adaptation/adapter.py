"""The training loop without labels: clusters are renewed before each epoch, and the loss is against their memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.adaptation.pseudo_labels import Clusters, Rows, check_clusters, cluster, measure
from crosscam.adaptation.units import Ints, units_of
from crosscam.data.loading import Images
from crosscam.data.records import ReidDataset
from crosscam.errors import ArgumentError, CheckpointError, DataError, TrainingError
from crosscam.inference.describing import check_descriptors, extract
from crosscam.losses.proxies import cluster_contrast, inter_camera, intra_camera, update_memory
from crosscam.losses.system_losses import Loss
from crosscam.models.output import ReidOutput
from crosscam.models.rrid import RRID
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import build_model
from crosscam.recipes.recipe import Recipe
from crosscam.system.text import counted
from crosscam.training.callbacks import Listeners
from crosscam.training.learned import learned_from, tracks_and_times
from crosscam.training.trained_on import save_trained_on
from crosscam.training.trainer import Trainer

KEY = "adaptation"
# Images for each number of a block that tell its covariance; with fewer the source's projection stays.
FIT_IMAGES = 16
# Of the source's weights, in its origin.
FINGERPRINT = "fingerprint"


class Adapter(Trainer):
    """A training that starts from a trained network and learns images without labels.

    Args:
        source, origin: run folder or shipped network to start from, and what provenance tells of it.
        recipe: with ``adapt``, or ArgumentError; other arguments as of :class:`Trainer`, identities are not looked at.

    Attributes:
        units: what tracks and times tell of the images; too few are a DataError.
        clusters: of this epoch.
        proxies: (N,) proxy of each image, -1 for none.
        memory: (M, D) proxies, each of length 1.
    """

    terms = ("loss", "inter_camera", "contrast")

    def __init__(
        self,
        source: Path,
        origin: Mapping[str, Any],
        recipe: Recipe,
        dataset: ReidDataset,
        folder: Path,
        *,
        resume: bool = False,
        listeners: Listeners | None = None,
    ) -> None:
        if recipe.adapt is None:
            raise ArgumentError(f"Recipe {recipe.name} has no settings of adaptation. Make one by adapted_recipe.")
        self.source, self.origin, self.settings = source, origin, recipe.adapt
        super().__init__(recipe, dataset, folder, resume=resume, listeners=listeners)
        self.units = units_of(dataset.train, self.settings)
        self.clusters: Clusters | None = None
        # The epoch that the clusters are of.
        self._clustered = 0
        self.proxies: Ints = self.labels.copy()
        self.memory = torch.empty(0)
        camids = np.array([s.camid for s in dataset.train], np.int64)
        # Of cameras below 0 nothing is known; they count as one.
        self.cameras: Ints = np.maximum(camids, -1)
        if not self.settings.cameras or len(np.unique(camids[camids >= 0])) < 2:
            self.cameras = np.zeros_like(camids)

    @property
    def num_ids(self) -> int:
        """0: nothing is classified."""
        return 0

    @property
    def by_camera(self) -> bool:
        """Whether each camera of a cluster has a proxy."""
        return len(np.unique(self.cameras)) > 1

    def first_labels(self) -> Ints:
        """(N,) -1: no image is in a cluster; DataError if there are too few for two clusters."""
        count, least = len(self.dataset.train), self.settings.min_images
        if count < 2 * least:
            raise DataError(
                f"{self.dataset.place} has {counted(count, 'image')} to learn from, and two clusters take at least "
                f"{2 * least} (adapt.min_images={least}). Add images."
            )
        return np.full(count, -1, np.int64)

    def build(self, *, pretrained: bool) -> nn.Module:
        """The source's network without classifiers; its weights, unless it gets others next."""
        model = build_model(self.recipe, 0, pretrained=False)
        if pretrained:
            checkpoint.load_weights_into(model, self.source, self.recipe, leave_out=checkpoint.CLASSIFIERS)
        return model

    def begin_phase(self) -> bool:
        """No stages: the network is trained as its own training left it."""
        return False

    def renew_labels(self, images: Images) -> None:
        """Cluster all images as the network sees them, and begin the memory anew; once in an epoch, or DataError."""
        if self.world.size > 1:
            raise TrainingError("Several processes cannot adapt together. Adapt in one process.")
        if self._clustered == self.epoch or self.epoch > self.recipe.train.epochs:
            return
        rows = self._descriptors(images)
        labels = cluster(rows, self.units, self.settings)
        check_clusters(labels, self.settings)
        self.clusters = measure(labels, self.labels, rows, self.units)
        self.labels, self._clustered = labels, self.epoch
        self._number_proxies()
        sums = torch.zeros(int(self.proxies.max()) + 1, rows.shape[1], dtype=torch.float64)
        clustered = np.flatnonzero(self.proxies >= 0)
        sums.index_add_(0, torch.from_numpy(self.proxies[clustered]), torch.from_numpy(rows[clustered]).double())
        self.memory = normalize(sums, dim=1).float().to(self.world.device)

    def _number_proxies(self) -> None:
        """One proxy for each cluster, or for each camera of a cluster."""
        clustered = np.flatnonzero(self.labels >= 0)
        pairs = np.stack([self.labels[clustered], self.cameras[clustered]], axis=1)
        found, numbers = np.unique(pairs, axis=0, return_inverse=True)
        self.proxies = np.full(len(self.labels), -1, np.int64)
        self.proxies[clustered] = numbers.reshape(-1)
        device = self.world.device
        self._clusters_of, self._cameras_of = (torch.from_numpy(found[:, k].copy()).to(device) for k in (0, 1))

    def _descriptors(self, images: Images) -> Rows:
        """(N, D) of all images, as the network gives them in training: without its projection, if it has one."""
        model, data = self.model, self.recipe.data
        projection = model.projection if isinstance(model, RRID) else None
        if isinstance(model, RRID):
            model.projection = None
        try:
            size = self.recipe.evaluation.batch_size
            found = extract(
                model, images, data.height, data.width, flip=False, batch_size=size, progress=self.listeners.reading
            )
        finally:
            if isinstance(model, RRID):
                model.projection = projection
        check_descriptors(found, [s.path for s in self.dataset.train])
        return found

    def loss_of(self, output: ReidOutput, targets: Tensor, indices: NDArray[np.int64]) -> Loss:
        """Contrast with the memory, which then moves toward the batch."""
        settings, tau = self.settings, self.settings.temperature
        features = normalize(output.descriptor.float(), dim=1)
        own = torch.from_numpy(self.proxies[indices]).to(features.device)
        across = features.new_zeros(())
        if self.by_camera:
            contrast = intra_camera(features, self.memory, own, self._cameras_of, tau)
            if settings.inter_camera:
                places = own, self._cameras_of, self._clusters_of
                across = inter_camera(features, self.memory, *places, tau, settings.hard_proxies)
        else:
            contrast = cluster_contrast(features, self.memory, targets, tau)
        # A copy: the gradient needs the memory as it was.
        self.memory = self.memory.clone()
        update_memory(self.memory, features.detach(), own, settings.momentum)
        return Loss(contrast + settings.inter_camera * across, across, contrast)

    def fit_projection(self, images: Images) -> None:
        """Fit the projection to the images, where there are enough of them; else that of the source stays."""
        projection = self.model.projection if isinstance(self.model, RRID) else None
        if projection is not None and len(images) >= FIT_IMAGES * projection.linear.weight.shape[1]:
            super().fit_projection(images)

    def further_record(self) -> dict[str, float]:
        """The clusters of the epoch."""
        return {} if self.clusters is None else self.clusters.record()

    def further_state(self) -> dict[str, Any]:
        """Clusters, proxies and what they were like: all that goes on within an epoch."""
        record = self.further_record()
        labels, source = torch.from_numpy(self.labels), self.origin[FINGERPRINT]
        return {KEY: {"labels": labels, "memory": self.memory.cpu(), "record": record, FINGERPRINT: source}}

    def restore_further(self, state: Mapping[str, Any]) -> None:
        """Take up the clusters of the state; CheckpointError if the adaptation began with another network."""
        kept = state[KEY]
        check_same_source(self.folder, kept[FINGERPRINT], self.origin)
        self._clustered = self.epoch if self.batch else self.epoch - 1
        self.labels = kept["labels"].numpy()
        self.memory = kept["memory"].to(self.world.device)
        self.clusters = Clusters(**{**kept["record"], "clusters": int(kept["record"]["clusters"])})
        self._number_proxies()

    @cached_property
    def learned(self) -> dict[str, str]:
        """As of a training, with tracks and times, which tell who is who."""
        return learned_from(self.recipe, self.dataset, self.digests) | tracks_and_times(self.dataset)

    def save_origin(self) -> None:
        """The images of the source and of the adaptation."""
        save_trained_on(self.folder, self.dataset, source=self.source, digests=self.digests)

    def provenance(self, record: Mapping[str, float]) -> dict[str, Any]:
        """As of a training, with the network that it started from; no identities were learned."""
        told = super().provenance(record)
        return told | {"data": told["data"] | {"train_ids": 0}, "adapted_from": dict(self.origin)}


def check_same_source(folder: Path, begun: str, origin: Mapping[str, Any]) -> None:
    """Refuse (CheckpointError) to go on with an adaptation that began with another network than that of ``origin``."""
    if begun != origin[FINGERPRINT]:
        raise CheckpointError(
            f"{folder} holds an adaptation of other weights (fingerprint {begun}, now {origin[FINGERPRINT]}). "
            "Resume with the same network, or start in another folder."
        )
