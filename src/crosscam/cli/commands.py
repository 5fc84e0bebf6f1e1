"""The commands by name. Each is loaded when it is called, so that ``crosscam --help`` need not load torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol


class Runnable(Protocol):
    """A command with its options."""

    def run(self) -> None:
        """Do it."""


@dataclass(frozen=True)
class Command:
    """Where a command is, and what it is for: its file here, its class there, and that docstring's first paragraph."""

    module: str
    name: str
    purpose: str

    def load(self) -> Any:
        """The class."""
        return getattr(import_module(f"crosscam.cli.{self.module}"), self.name)


@dataclass(frozen=True)
class Group:
    """Commands that stand behind one word."""

    purpose: str
    commands: Mapping[str, Command]


DATA = Group(
    "Datasets: examine, draw, split, join.",
    {
        "doctor": Command(
            "data", "Doctor", "Count a dataset beside its official numbers, and find what is wrong with it."
        ),
        "render": Command("data", "Render", "Draw a dataset of walking people seen by several cameras."),
        "holdout": Command("data", "Holdout", "Cut a test split (query, gallery) out of training identities."),
        "join": Command("data", "Join", "Put several datasets side by side in one table."),
    },
)
GALLERY = Group(
    "Galleries: descriptors that last, searched by image, camera and time.",
    {
        "create": Command("gallery_contents", "Create", "Make an empty gallery for the descriptors of one model."),
        "add": Command("gallery_contents", "Add", "Describe images and add them to a gallery."),
        "search": Command("gallery_search", "Search", "Find the entries nearest to images."),
        "update": Command("gallery_contents", "Update", "Give entries another identity, camera, time or track."),
        "forget": Command("gallery_contents", "Forget", "Remove entries for good."),
        "expire": Command("gallery_contents", "Expire", "Forget what is older than a time span."),
        "compact": Command("gallery_upkeep", "Compact", "Give the places of forgotten entries back to the disk."),
        "info": Command("gallery_upkeep", "Info", "Tell what a gallery holds."),
        "verify": Command(
            "gallery_upkeep", "Verify", "Read everything in a gallery and compare it with its checksums."
        ),
        "export": Command("gallery_upkeep", "Export", "Write entries and descriptors as a table for other programs."),
        "backup": Command("gallery_upkeep", "Backup", "Copy a gallery as it stands."),
    },
)
COMMANDS: Mapping[str, Command | Group] = {
    "demo": Command("demo", "Demo", "Draw people, train a small network, score it, and find one of them in a gallery."),
    "data": DATA,
    "recipes": Command("recipes", "Recipes", "List the recipes, or all settings of one."),
    "train": Command("train", "Train", "Train a recipe, score it and write a report."),
    "adapt": Command("adapt", "Adapt", "Fit a trained network to your cameras by images without labels."),
    "evaluate": Command("evaluate", "Evaluate", "Score a trained network on the query and gallery of a dataset."),
    "extract": Command("extract", "Extract", "Turn images into descriptors of length 1."),
    "export": Command("export", "Export", "Write a network as one file: uint8 images in, descriptors out."),
    "explain": Command("explain", "Explain", "Show which body parts make the distance of two images small or large."),
    "import-authors": Command(
        "import_authors", "ImportAuthors", "Turn a checkpoint of the authors' code into a run folder."
    ),
    "import-network": Command(
        "import_network",
        "ImportNetwork",
        "Declare what a network from elsewhere takes, so that every command can use it.",
    ),
    "reproduce": Command("reproduce", "Reproduce", "Make one of the paper's tables or figures."),
    "gallery": GALLERY,
    "link": Command(
        "link",
        "Link",
        "Find out which tracks of a gallery are one person, and show everybody's way from camera to camera.",
    ),
    "watch": Command("watch", "Watch", "Add the people of a video to a gallery: detect, track, crop, describe."),
    "models": Group(
        "Models of others that crosscam uses.",
        {"get": Command("models", "Get", "Fetch a model of others by pip, check its digest, and keep it.")},
    ),
    "calibrate": Command("calibrate", "Calibrate", "Learn from labeled images which distance means the same person."),
    "serve": Command("serve", "Serve", "Serve a page and a REST API over a gallery."),
    "completion": Command(
        "completion", "Completion", "Print a script that completes commands and options in your shell."
    ),
}


def called_by(words: Sequence[str]) -> tuple[list[str], Command | Group | None]:
    """The leading words that name a command, and what they name: None if the first names none."""
    names: list[str] = []
    found: Command | Group | None = None
    known: Mapping[str, Command | Group] = COMMANDS
    for word in words:
        if word not in known:
            break
        names.append(word)
        found = known[word]
        known = found.commands if isinstance(found, Group) else {}
    return names, found
