"""Provokes every error message of docs/errors.md and writes that page: ``python docs/make_errors.py``.

Nothing on the page is made up: each case prepares what is wrong, runs the command, and takes down the line it prints.
tests/cli/test_bad_input.py runs the same cases.
"""

from __future__ import annotations

import errno
import os
import pickle
import shlex
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from unittest import mock

import torch
from PIL import Image

from crosscam.cli import show
from crosscam.cli.main import main
from crosscam.data.synthetic.dataset import render_dataset

PAGE = Path(__file__).with_name("errors.md")
HEAD = """# Error messages

What the user can mend gets one line on standard error, and exit status 2: what is wrong, where, what was expected and
found, and the next step. `--debug` shows where in the code. A training that was stopped by Ctrl-C ends with 130.

Every line below was provoked by the command above it; `python docs/make_errors.py` writes this page.
"""

# A network that learns nothing in no time, for the cases that need one.
TINY = (
    "--set model.backbone=basic:stem=4,planes=4.4.4.4,out=4.4.4.4,depths=1.1.1.1 "
    "--set model.scales=2 --set model.dim=4 --set data.height=32 --set data.width=16 "
    "--set data.batch_ids=2 --set data.batch_images=2 "
    "--set train.epochs=1 --set train.precision=fp32 --set evaluation.every=0"
)


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        title: what it is, in a few words.
        command: what is typed; the working folder holds a dataset ``people`` and a run folder ``run``.
        prepare: makes what is wrong in the working folder.
        extra: more of the command that the page leaves out.
        during: what goes on while the command runs.
    """

    title: str
    command: str
    prepare: Callable[[], None] = lambda: None
    extra: str = ""
    during: Callable[[], AbstractContextManager[None]] = nullcontext


def make_base(folder: Path) -> None:
    """A small drawn dataset and a run folder, which the cases copy and spoil."""
    render_dataset(folder / "people", ids=8, cameras=2, images=2, collide=0, seed=1, test_share=0.5, processes=1)
    run(f"train demo --data people --out run {TINY}", folder)


def run(command: str, folder: Path) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command, run in this process and in ``folder``."""
    out, err = StringIO(), StringIO()
    # The console's own file, which is none: it follows sys.stderr, and must do so again afterwards.
    before, console = Path.cwd(), show.ERR._file
    os.chdir(folder)
    show.ERR.file = err
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(shlex.split(command))
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        show.ERR.file = console
        os.chdir(before)
    return status, out.getvalue(), err.getvalue()


def provoke(case: Case, folder: Path) -> tuple[int, str]:
    """Exit status, and what standard error said, with the working folder's name taken out."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        case.prepare()
    finally:
        os.chdir(before)
    with case.during():
        status, _, err = run(f"{case.command} {case.extra}", folder)
    # Notes of readers stand before the error; a page of errors shows the error alone.
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    return status, "\n".join(lines).replace(f"{folder}/", "").replace(f"{folder.resolve()}/", "")


def train_with(name: str, spoil: Callable[[Path], None]) -> Callable[[], None]:
    """A copy of the dataset in which the first training image is spoiled."""

    def prepare() -> None:
        shutil.copytree("people", name)
        first = min((Path(name) / "bounding_box_train").iterdir())
        spoil(first)

    return prepare


def truncate(path: Path) -> None:
    """Cut a file in half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty_file(path: Path) -> None:
    """No byte at all."""
    path.write_bytes(b"")


def text_file(path: Path) -> None:
    """Words where an image should be."""
    path.write_text("Somebody's notes.")


def write_huge_png(path: Path) -> None:
    """A file of a few bytes whose header promises 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))


def vanish(path: Path) -> None:
    """A link to a file that is not there."""
    path.unlink()
    path.symlink_to("gone.jpg")


def only_training(name: str, keep: Callable[[str], bool]) -> Callable[[], None]:
    """A dataset of those training images whose names are kept."""

    def prepare() -> None:
        shutil.copytree("people/bounding_box_train", f"{name}/bounding_box_train")
        for path in Path(f"{name}/bounding_box_train").iterdir():
            if not keep(path.name):
                path.unlink()

    return prepare


def trained_on_all() -> None:
    """A dataset without query and gallery, and a network trained on it."""
    only_training("seen", lambda _: True)()
    run(f"train demo --data seen --out seen-run {TINY}", Path.cwd())


def first_id(name: str) -> bool:
    """Whether a training image shows the first identity."""
    return name.startswith(min(os.listdir("people/bounding_box_train"))[:5])


def empty_folder(name: str, subset: str) -> Callable[[], None]:
    """A copy of the dataset in which one folder is empty."""

    def prepare() -> None:
        shutil.copytree("people", name)
        shutil.rmtree(f"{name}/{subset}")
        os.mkdir(f"{name}/{subset}")

    return prepare


def identity_folders() -> None:
    """Two people in two folders, with no word on cameras."""
    for name in ("anna", "ben"):
        os.makedirs(f"own/{name}")
        Image.new("RGB", (16, 32)).save(f"own/{name}/1.jpg")


def two_data_sets() -> None:
    """A folder with two datasets."""
    shutil.copytree("people", "sets/a")
    shutil.copytree("people", "sets/b")


def copy_run(name: str, *left_out: str) -> Callable[[], None]:
    """A copy of the run folder without some files."""

    def prepare() -> None:
        shutil.copytree("run", name, ignore=shutil.ignore_patterns(*left_out))

    return prepare


def other_weights() -> None:
    """A run folder whose recipe is another than that of its weights."""
    shutil.copytree("run", "mixed")
    recipe = Path("mixed/recipe.json")
    recipe.write_text(recipe.read_text().replace('"dim": 4', '"dim": 8'))


def torn_weights() -> None:
    """A run folder whose weights are cut in half."""
    shutil.copytree("run", "torn-run")
    truncate(Path("torn-run/weights.safetensors"))


class Intruder:
    """Runs a command when it is unpickled by something careless."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("it-ran",)


def evil_pickle(path: str) -> Callable[[], None]:
    """A pickle that would make a folder named ``it-ran``."""

    def prepare() -> None:
        Path(path).write_bytes(pickle.dumps({"state_dict": Intruder()}, protocol=2))

    return prepare


def evil_state() -> None:
    """A run folder whose state.pt would make that folder."""
    shutil.copytree("run", "evil")
    torch.save({"recipe": Intruder()}, "evil/state.pt")


@contextmanager
def full(name: str) -> Iterator[None]:
    """A full disk when one file is to take its place."""
    replace = os.replace

    def refuse(source: str | Path, target: str | Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with mock.patch("os.replace", refuse):
        yield


full_state, full_result = partial(full, "state.pt"), partial(full, "crowded.npz")


def table(name: str, text: str) -> Callable[[], None]:
    """A table of own data."""

    def prepare() -> None:
        Path(name).write_text(text)

    return prepare


def empty_gallery() -> None:
    """A gallery ``g`` without entries."""
    run("gallery create g run", Path.cwd())


SECTIONS: dict[str, list[Case]] = {
    "Datasets": [
        Case("A folder that is not there", "data doctor nowhere"),
        Case("A folder that is not a dataset", "data doctor empty", lambda: os.mkdir("empty")),
        Case("Several datasets", "data doctor sets", two_data_sets),
        Case("An empty training split", "train rrid-s --data blank", empty_folder("blank", "bounding_box_train")),
        Case("An empty query", "evaluate run --data unasked", empty_folder("unasked", "query")),
        Case("No camera numbers in folders", "train rrid-s --data own", identity_folders),
        Case("No camera numbers in a table", "data doctor own.csv", table("own.csv", "path,pid\npeople/a.jpg,1\n")),
        Case(
            "A table that names a missing image",
            "data doctor gone.csv",
            table("gone.csv", "path,pid,camid\na.jpg,1,1\n"),
        ),
        Case("A label that is missing", "data doctor gap.csv", table("gap.csv", "path,pid,camid\na.jpg,nan,1\n")),
        Case(
            "No query with a match",
            "evaluate run --data people/nobody.csv",
            table("people/nobody.csv", "path,pid,camid,split\nnobody.csv,1,1,query\nnobody.csv,1,1,gallery\n"),
        ),
        Case("A gallery too small for re-ranking", "evaluate run --data people --rerank"),
        Case("A place that cannot be written", "evaluate run --data people --out people"),
        Case("One identity", "train rrid-s --data lonely", only_training("lonely", first_id)),
        Case(
            "Fewer images than K",
            "train rrid-s --data few --set data.batch_images=40",
            only_training("few", lambda _: True),
        ),
        Case("Fewer identities than P", "train demo --data people"),
        Case("A kind that is unknown", "data doctor people --kind marktet1501"),
        Case("A folder that is taken", "data render people"),
        Case("A hold-out that leaves nobody", "data holdout people cut.csv --train-ids 9"),
        Case("A hold-out in a format that is unknown", "data holdout people cut.xls"),
    ],
    "Images": [
        Case("Truncated", "train demo --data torn", train_with("torn", truncate), TINY),
        Case(
            "Zero bytes",
            "train demo --data void --out runs/void",
            train_with("void", empty_file),
            TINY,
        ),
        Case(
            "50,000 x 50,000 pixels", "train demo --data huge --out runs/huge", train_with("huge", write_huge_png), TINY
        ),
        Case(
            "A text file named .jpg",
            "train demo --data text --out runs/text",
            train_with("text", text_file),
            TINY,
        ),
        Case("A link to nothing", "train demo --data broken --out runs/broken", train_with("broken", vanish), TINY),
        Case("No images to describe", "extract run empty out.npz"),
        Case("An image that cannot be read", "extract run torn out.npz"),
    ],
    "Calibration": [
        Case("Too few labeled images", "calibrate run --data people"),
        Case("Images that the network was trained on", "calibrate seen-run --data seen", trained_on_all),
    ],
    "Serving": [
        Case("Nothing to serve", "serve --gallery nowhere"),
        Case("An address that others can reach", "serve --gallery people.gallery --host 0.0.0.0"),
        Case(
            "A token that is too short",
            "serve --gallery people.gallery --token-file token",
            table("token", "secret\n"),
        ),
    ],
    "Run folders": [
        Case("No run folder", "evaluate nowhere --data people"),
        Case("A run folder without weights", "evaluate bare --data people", copy_run("bare", "weights.safetensors")),
        Case("Weights of another recipe", "evaluate mixed --data people", other_weights),
        Case(
            "Weights that are damaged",
            "extract torn-run people out.npz",
            torn_weights,
        ),
        Case("A file that is no export", "extract note.onnx people out.npz", table("note.onnx", "not a graph")),
        Case("An export of int8 without images", "export run --int8"),
        Case("An engine that is unknown", "extract run people out.npz --engine openvno"),
        Case("A folder that holds a training", "train rrid-s --data people --out run"),
        Case(
            "Going on with another recipe",
            "train demo --data people --out run --resume",
            extra="--set data.batch_ids=2",
        ),
        Case("Going on with other data", "train demo --data few --out run --resume", extra=TINY),
    ],
    "Files that could run code": [
        Case("The authors' checkpoint", "import-authors evil.pth imported", evil_pickle("evil.pth")),
        Case("The state of a training", "train demo --data people --out evil --resume", evil_state, TINY),
        Case(
            "ImageNet weights",
            "train rrid-s --data people --out fresh --set model.pretrained=imagenet.pth",
            evil_pickle("imagenet.pth"),
            "--set data.batch_ids=2",
        ),
        Case(
            "A pickle with another name",
            "train rrid-s --data people --out fresh2 --set model.pretrained=imagenet.safetensors",
            evil_pickle("imagenet.safetensors"),
        ),
        Case("A file that is no checkpoint", "import-authors note.pth imported", table("note.pth", "not a checkpoint")),
    ],
    "Galleries": [
        Case("A gallery that is not there", "gallery info nowhere"),
        Case("A folder that is taken by something else", "gallery create people run"),
        Case("Nothing that says whom to forget", "gallery forget g", empty_gallery),
        Case("A time span that is none", "gallery expire g --keep soon"),
        Case("An address without a collection", "gallery info milvus://localhost:19530"),
    ],
    "A full disk": [
        Case("While training", "train demo --data people --out crowded", extra=TINY, during=full_state),
        Case("While extracting", "extract run people crowded.npz", during=full_result),
    ],
    "Commands and settings": [
        Case("A command that is unknown", "trian"),
        Case("An option that is unknown", "train rrid-s --dta people"),
        Case("A setting typed as an option", "train rrid-s --data people --epochs 5"),
        Case("Something missing", "train"),
        Case("A value of the wrong kind", "demo --ids many"),
        Case("A block that is unknown", "explain run a.jpg b.jpg --weight p2.loca1=0"),
        Case("A recipe that is unknown", "train rrid --data people"),
        Case("A setting that is unknown", "train rrid-s --data people --set train.epoch=5"),
        Case("A setting's value of the wrong kind", "train rrid-s --data people --set train.epochs=many"),
        Case("An absurd size", "train rrid-s --data people --set data.width=1000000"),
        Case("A setting's value out of range", "train rrid-s --data people --set train.epochs=0"),
        Case("A height that does not fit the stripes", "train rrid-s --data people --set data.height=100"),
    ],
}


def provoke_all() -> dict[str, tuple[int, str]]:
    """Exit status and standard error of each case, by title; they run in order, in one working folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base(folder)
        found = {case.title: provoke(case, folder) for section in SECTIONS.values() for case in section}
        if (folder / "it-ran").exists():
            raise AssertionError("A file of the section on unsafe files was run.")
    return found


def page(found: dict[str, tuple[int, str]]) -> str:
    """The text of docs/errors.md."""
    parts = [HEAD]
    for title, section in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [f"{case.title}:\n\n    $ crosscam {case.command}\n    {found[case.title][1]}\n" for case in section]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(provoke_all()), encoding="utf-8")
