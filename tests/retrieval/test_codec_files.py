"""Codecs that come back from a file as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from crosscam.errors import DataError
from crosscam.retrieval.codec_files import load_codec, save_codec
from crosscam.retrieval.compression import Codec, Half, fit_int8, fit_principal, followed_by
from crosscam.retrieval.product_quantiser import fit_product_quantiser


def rows(count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def codecs() -> dict[str, Codec]:
    x = rows(400)
    principal = fit_principal(x, 6, whiten=0.5)
    short = principal.project(x)
    return {
        "half": Half(16),
        "int8": fit_int8(x),
        "principal": principal,
        "principal, int8": followed_by(principal, fit_int8(short)),
        "product": fit_product_quantiser(x, 4),
        "principal, product": followed_by(principal, fit_product_quantiser(short, 3)),
    }


@pytest.mark.parametrize("name", list(codecs()))
def test_a_loaded_codec_does_what_the_saved_one_did(name: str, tmp_path: Path) -> None:
    codec = codecs()[name]
    save_codec(codec, tmp_path / "codec.safetensors")
    loaded = load_codec(tmp_path / "codec.safetensors")
    assert type(loaded) is type(codec)
    assert loaded.bytes_each == codec.bytes_each
    new = rows(30, seed=1)
    codes = codec.encode(new)
    np.testing.assert_array_equal(loaded.encode(new), codes)
    np.testing.assert_array_equal(loaded.decode(codes), codec.decode(codes))
    np.testing.assert_array_equal(loaded.distances(new[:3], codes), codec.distances(new[:3], codes))


def test_what_is_no_codec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No file .*none\.safetensors"):
        load_codec(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(DataError, match="holds no codec"):
        load_codec(tmp_path / "text")
    save_file({"centre": rows(2)}, tmp_path / "weights")
    with pytest.raises(DataError, match="holds no codec"):
        load_codec(tmp_path / "weights")
    save_codec(fit_int8(rows(40)), tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-20])
    with pytest.raises(DataError, match="holds no codec"):
        load_codec(tmp_path / "cut")

    class Other(Half):
        """Not one of the package's."""

    with pytest.raises(ValueError, match="Other is no codec of crosscam"):
        save_codec(Other(3), tmp_path / "other")
