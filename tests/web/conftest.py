"""A gallery of drawn people, described by a network that learned nothing, and the application over it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from crosscam.calibration.calibration import Origin
from crosscam.calibration.fitting import calibrate
from crosscam.data.images import decode_image
from crosscam.data.records import ReidDataset, camids_of, pids_of
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery
from crosscam.inference.extractor import Extractor
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.settings import with_settings
from crosscam.web.app import create_app
from crosscam.web.search import preview
from crosscam.web.server_settings import Limits, Settings
from crosscam.web.service import Service

START = 1_700_000_000.0
Make = Callable[..., TestClient]


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    """A very small network with stripes."""
    settings = (
        "model.backbone=basic:stem=4,planes=4.4.4.4,out=4.4.4.4,depths=1.1.1.1",
        "model.scales=2",
        "model.dim=4",
        "data.height=32",
        "data.width=16",
    )
    torch.manual_seed(0)
    recipe = with_settings(find_recipe("demo"), settings)
    return Extractor(build_model(recipe, num_ids=0, pretrained=False), recipe)


@pytest.fixture(scope="session")
def made(rendered: ReidDataset, extractor: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery with 60 entries, thumbnails and a calibration; leave its files alone."""
    place = tmp_path_factory.mktemp("galleries") / "people.gallery"
    samples = [s for s in rendered.train if s.pid > 0]
    images = [decode_image(s.path) for s in samples]
    descriptors = extractor(images)
    entries = [
        NewEntry(path=f"/secret/folder/{s.path.name}", camid=s.camid, time=START + 60 * n, track=f"t{s.pid}")
        for n, s in enumerate(samples[:60])
    ]
    origin = Origin("rendered", rendered.fingerprint(), extractor.fingerprint)
    found = calibrate(
        descriptors, pids_of(tuple(samples)), camids_of(tuple(samples)), origin, fmr=0.05, fnmr=0.3, replicates=5
    )
    with create_gallery(place, extractor.layout, ModelIdentity(extractor.fingerprint, "tiny")) as gallery:
        thumbnails = [preview(image, 128, 128) for image in images[:60]]
        gallery.add(descriptors[:60], entries, thumbnails, model=extractor.fingerprint)
        gallery.set_document("calibration", json.loads(found.to_json()))
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A gallery of one's own."""
    return Path(shutil.copytree(made, tmp_path / "people.gallery"))


@pytest.fixture
def service(place: Path, extractor: Extractor) -> Iterator[Service]:
    """The gallery with the network."""
    found = Service(str(place), extractor, place / "audit.jsonl", Limits())
    yield found
    found.close()


@pytest.fixture
def make(service: Service) -> Make:
    """A client of the application, by settings."""

    def client(base: str = "http://127.0.0.1:8700", **settings: object) -> TestClient:
        return TestClient(create_app(service, Settings(**settings), "people.gallery"), base_url=base)  # type: ignore[arg-type]

    return client


@pytest.fixture
def client(make: Make) -> TestClient:
    """A client on loopback."""
    return make()


@pytest.fixture(scope="session")
def image(rendered: ReidDataset) -> bytes:
    """The bytes of an image of a person who is in the gallery."""
    return rendered.train[0].path.read_bytes()


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A small file of 36 million pixels."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((6000, 6000), dtype=np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()
