"""Files that a command must not write over, in every command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from in_process import Run

from crosscam.cli.overwriting import RUN_FILES, refuse_overwriting
from crosscam.errors import DataError
from crosscam.inference.engines.network_file import DECLARATION
from crosscam.recipes import checkpoint
from crosscam.training.callbacks import METRICS
from crosscam.training.teachers import KEPT
from crosscam.training.trained_on import TRAINED_ON


@dataclass
class Command:
    data: Path
    images: tuple[Path, ...] = ()
    out: Path | None = None
    sheet: Path | None = None


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("t.csv", "is read by the same command"),
        ("link.csv", "is read by the same command"),
        ("b.txt", "is read by the same command"),
        ("run/recipe.json", "belongs to a network"),
        ("net.onnx", "is a network that 'crosscam export' did not write,"),
        ("photo.jpg", "is an image"),
    ],
)
def test_what_is_needed_is_not_written_over(tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "run").mkdir()
    for name in ("t.csv", "a.txt", "b.txt", "run/recipe.json", "run/scores.json", "photo.jpg", "net.onnx"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    data, images = tmp_path / "t.csv", (tmp_path / "a.txt", tmp_path / "b.txt")
    with pytest.raises(DataError, match=f"{message} and would be replaced"):
        refuse_overwriting(Command(data, images, tmp_path / out))
    refuse_overwriting(Command(data, images, tmp_path / "run/scores.json", sheet=tmp_path / "photo.jpg"))
    refuse_overwriting(Command(data, images, tmp_path / "new.csv"))
    (tmp_path / "ours.onnx").write_bytes(b"... crosscam.fingerprint ...")
    refuse_overwriting(Command(data, images, tmp_path / "ours.onnx"))
    refuse_overwriting(Command(tmp_path, images, tmp_path / "run"))


def test_all_files_of_a_run_folder_are_known() -> None:
    """The module names them itself, because commands that need no network do not import what writes them."""
    written = {checkpoint.WEIGHTS, checkpoint.RECIPE, checkpoint.PROVENANCE, checkpoint.STATE}
    assert written | {TRAINED_ON, METRICS, KEPT, DECLARATION} == RUN_FILES


def test_a_table_is_not_replaced_by_what_is_made_of_it(crosscam: Run, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("path,pid,camid,split\na.jpg,1,1,train\n")
    before = table.read_bytes()
    for command in (f"data holdout {table} {table}", f"evaluate rrid-nano --data {table} --out {table}"):
        status, _, err = crosscam(command)
        assert (status, table.read_bytes()) == (2, before)
        assert "is read by the same command and would be replaced" in err
