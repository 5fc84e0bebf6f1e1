"""``crosscam serve``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from crosscam.cli.options import General, Unset
from crosscam.cli.show import say
from crosscam.errors import WebError
from crosscam.gallery.local import is_address, open_gallery
from crosscam.gallery.source_network import matching_extractor, recorded_extractor
from crosscam.inference.extractor import Extractor
from crosscam.system.cores import best_device


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve a page and a REST API over a gallery.

    docs/responsible-use.md says what it is for, and what not.
    """

    place: Annotated[Positional[str | None], arg(metavar="[GALLERY]", help_behavior_hint="")] = None
    """The gallery: a folder, or the address of a Milvus database."""
    gallery: Unset[str] = None
    """The same as an option."""
    model: Unset[Path] = None
    """Run folder of the network that built the gallery. By default the one that the gallery names, if it is still
    there; without any nothing can be uploaded."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs --token-file."""
    port: int = 8700
    """Port to listen on; 0 takes a free one."""
    token_file: Unset[Path] = None
    """File with one token a line, TOKEN or NAME TOKEN; every request must carry one."""
    host_name: tuple[str, ...] = ()
    """Further names by which browsers call this server, for example behind a proxy."""
    audit: Unset[Path] = None
    """Audit log; audit.jsonl in the gallery's folder by default."""
    rate: int = 240
    """Searches and changes per minute for each client."""
    upload_mb: int = 16
    """Largest request, in megabytes."""
    megapixels: int = 25
    """Largest image, in millions of pixels."""
    hide_videos: bool = False
    """Show no frames and clips of watched videos, but the kept images alone."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        try:
            from crosscam.web.server import run_server
        except ImportError as error:
            raise WebError(f"Serving needs {error.name}: pip install 'crosscam[web]'.") from error
        from crosscam.web.audit import FILE
        from crosscam.web.server_settings import Limits, Settings, read_tokens
        from crosscam.web.service import Service

        place = self._place()
        for name, value in (("--rate", self.rate), ("--upload-mb", self.upload_mb), ("--megapixels", self.megapixels)):
            if value < 1:
                raise WebError(f"{name} is {value}. Expected at least 1.")
        limits = Limits(rate=self.rate, upload_bytes=self.upload_mb * 1_000_000, pixels=self.megapixels * 1_000_000)
        tokens = read_tokens(self.token_file) if self.token_file else {}
        settings = Settings(
            host=self.host,
            port=self.port,
            tokens=tokens,
            host_names=self.host_name,
            limits=limits,
            videos=not self.hide_videos,
        )
        if self.audit is None and is_address(place):
            raise WebError("A gallery at an address has no folder for the audit log. Give --audit FILE.")
        extractor, uploads = self._network(place)
        service = Service(place, extractor, self.audit or Path(place) / FILE, limits)
        try:
            run_server(service, settings, Path(place).name, say, uploads)
        finally:
            service.close()

    def _place(self) -> str:
        """The gallery, which may stand alone or behind --gallery."""
        if self.place is not None and self.gallery is not None:
            raise WebError(f"The gallery is given twice: {self.place} and --gallery {self.gallery}. Give it once.")
        place = self.place if self.place is not None else self.gallery
        if place is None:
            raise WebError("No gallery to serve. Give its folder, as in 'crosscam serve people.gallery'.")
        return place

    def _network(self, place: str) -> tuple[Extractor | None, str]:
        """The network that describes uploads, and a sentence on it; None where there is none, and the reason."""
        with open_gallery(place) as gallery:
            if self.model is not None:
                found, name = matching_extractor(gallery, self.model, best_device()), str(self.model)
            else:
                extractor, name = recorded_extractor(gallery, place, best_device())
                if extractor is None:
                    return None, f"It takes no uploads: {name}. Give --model RUN_FOLDER."
                found = extractor
        return found, f"Uploads are described by {name}."
