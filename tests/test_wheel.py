"""The wheel: built, installed into an environment of its own, and used there without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from crosscam.data.records import ReidDataset

ROOT = Path(__file__).resolve().parents[1]


def listed() -> list[str]:
    """The files of the repository."""
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [name for name in found.split("\0") if name]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves folders behind.
    source = tmp_path_factory.mktemp("source") / "crosscam"
    for name in listed():
        if name.startswith(("src/", "pyproject", "README", "LICENSE")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(out), str(source)], check=True, timeout=300)
    (found,) = out.glob("*.whl")
    return found


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("crosscam/")}
    here = {name.removeprefix("src/") for name in listed() if name.startswith("src/") and (ROOT / name).is_file()}
    assert inside == here


def test_it_is_used_without_the_checkout(wheel: Path, rendered: ReidDataset, tmp_path: Path) -> None:
    place = tmp_path / "environment"
    venv.create(place, with_pip=False)
    scripts = place / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    # With PYTHONPATH, pip would find the package of a checkout installed.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*install, str(wheel)], check=True, timeout=300, env=alone)
    # The libraries come from this environment; crosscam itself does not, for it is installed here by a link.
    (site,) = place.rglob("site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    look = [str(python), "-c", "import crosscam; print(crosscam.__file__)"]
    where = subprocess.run(look, capture_output=True, text=True, env=alone)
    assert Path(where.stdout.strip()).is_relative_to(place), where.stderr
    photos = tmp_path / "photos"
    for sample in (*rendered.query[:6], *rendered.gallery[:6]):
        folder = photos / f"camera{sample.camid}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / sample.path.name).write_bytes(sample.path.read_bytes())
    command = [str(scripts / "crosscam"), "demo", "--photos", str(photos), "--out", "found"]
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found/pairs.html").is_file()
