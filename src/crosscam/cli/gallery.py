"""``crosscam gallery``: create, add, search, update, forget, expire, compact, info, verify, export, backup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import arg, subcommand

from crosscam.cli.gallery_contents import Add, Create, Expire, Forget, Update
from crosscam.cli.gallery_search import Search
from crosscam.cli.gallery_upkeep import Backup, Compact, Export, Info, Verify
from crosscam.cli.options import General

GalleryCommand = (
    Annotated[Create, subcommand("create")]
    | Annotated[Add, subcommand("add")]
    | Annotated[Search, subcommand("search")]
    | Annotated[Update, subcommand("update")]
    | Annotated[Forget, subcommand("forget")]
    | Annotated[Expire, subcommand("expire")]
    | Annotated[Compact, subcommand("compact")]
    | Annotated[Info, subcommand("info")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Backup, subcommand("backup")]
)

GALLERY_COMMANDS: dict[str, Any] = {
    "create": Create,
    "add": Add,
    "search": Search,
    "update": Update,
    "forget": Forget,
    "expire": Expire,
    "compact": Compact,
    "info": Info,
    "verify": Verify,
    "export": Export,
    "backup": Backup,
}


@dataclass(frozen=True)
class GalleryGroup:
    """Galleries: descriptors that last, searched by picture, camera and time."""

    command: Annotated[GalleryCommand, arg(name="")]

    @property
    def general(self) -> General:
        """The chosen command's."""
        return self.command.general

    def run(self) -> None:
        """Run the chosen command."""
        self.command.run()
