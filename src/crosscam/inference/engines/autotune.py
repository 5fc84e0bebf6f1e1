"""``engine="auto"``: measure briefly which engine is the fastest here for a network, and keep that beside the run.

A measurement is a matter of the clock, and engines differ in the last digits. So the first choice for a network on a
kind of processor holds for all later measurements; only :meth:`Runner.choose` replaces it.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crosscam.errors import EngineError, StorageError
from crosscam.inference.engines.base import Descriptors, Engine, Pixels, cache_folder
from crosscam.inference.engines.graph import Network
from crosscam.inference.engines.onnx_engine import AGREEMENT, INT8_COSINE, MEASURED_IMAGES, neighbor_agreement
from crosscam.inference.engines.registry import candidates, check_name, is_int8, open_engine
from crosscam.system.files import make_folder, write_atomically
from crosscam.system.locks import held
from crosscam.system.text import parse_json, reason_of

# Rounding alone moves a descriptor far less; int8 is judged by ranks, and may move it further.
COSINE = 0.999
ROUNDS = 3
ENGINES_FILE = "engines.json"
# Fewer images than this are described before an engine has been found and warmed up.
WORTH_MEASURING = 2_000


@dataclass(frozen=True)
class Measurement:
    """What one engine showed.

    Attributes:
        images_per_second: the best of a few batches.
        cosine: the smallest between its descriptors and those of torch in fp32.
        agreement: share of images with the same nearest other image.
        refused: why it is not taken; empty for an engine that may be.
    """

    images_per_second: float = 0.0
    cosine: float = 0.0
    agreement: float = 0.0
    refused: str = ""


def choose_engine(network: Network, pixels: Pixels) -> tuple[Engine, dict[str, Measurement]]:
    """The fastest engine that gives what the network gives.

    Args:
        network: what to run.
        pixels: (B, H, W, 3) uint8, some of the user's images.
    Returns:
        the engine, and what all showed.
    """
    engines: dict[str, Engine] = {}
    found: dict[str, Measurement] = {}
    for name in candidates(network.device, int8=network.int8_images is not None):
        try:
            engines[name] = open_engine(name, network)
            engines[name](pixels)
        except (EngineError, RuntimeError) as error:
            engines.pop(name, None)
            found[name] = Measurement(refused=reason_of(error)[:200])
    found |= measure(engines, pixels)
    # A network that gives no descriptors agrees with nothing; who asks for them is told so by the image's name.
    right = [name for name in engines if not found[name].refused] or ["torch"]
    return engines[max(right, key=lambda name: found[name].images_per_second)], found


def measure(engines: Mapping[str, Engine], pixels: Pixels) -> dict[str, Measurement]:
    """Speed and closeness of engines, by name; the one named torch is what the others must be close to.

    Each has run before. They take turns, so that whatever else the machine does falls on all of them.
    """
    rows = {name: engine(pixels) for name, engine in engines.items()}
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine(pixels)
            best[name] = min(best[name], time.perf_counter() - began)
    return {name: _judged(name, len(pixels) / best[name], rows["torch"], rows[name]) for name in engines}


def _judged(name: str, images_per_second: float, expected: Descriptors, rows: Descriptors) -> Measurement:
    cosine = float((rows * expected).sum(axis=1).min())
    agreement = neighbor_agreement(expected, rows)
    int8 = is_int8(name)
    refused = ""
    if not cosine >= (INT8_COSINE if int8 else COSINE):
        refused = f"cosine {cosine:.4f} to torch"
    elif int8 and agreement < AGREEMENT:
        refused = f"{100 * agreement:.0f} % of the images keep their nearest other image"
    return Measurement(images_per_second, cosine, agreement, refused)


def remembered(network: Network, *, for_few: bool = False) -> str | None:
    """The engine that was chosen for this network on this kind of processor before, or None.

    Args:
        network: what is run.
        for_few: count only a choice that was asked for, and so holds for any number of images.
    """
    for path in _memory_files(network):
        found = _memory(path).get(_key(network))
        if isinstance(found, dict) and (found.get("asked") or not for_few):
            name = found.get("engine")
            if name in candidates(network.device, int8=network.int8_images is not None):
                return str(name)
    return None


def remember(network: Network, engine: str, found: Mapping[str, Measurement], *, asked: bool = False) -> str:
    """Keep a choice for the next time, beside the run, or in the cache folder; where neither can be written, nowhere.

    Args:
        network: what is run.
        engine: the choice.
        found: what was measured.
        asked: replace an earlier choice; without it, an earlier one holds.
    Returns:
        The choice that holds.
    """
    kept = {"engine": engine, "asked": asked, "measured": {name: asdict(m) for name, m in found.items()}}
    for path in _memory_files(network):
        with suppress(StorageError, OSError):
            make_folder(path.parent)
            with held(path.with_name(f".{path.name}.lock"), wait=True, remove=True):
                earlier = remembered(network)
                if earlier is not None and not asked:
                    return earlier
                write_atomically(path, json.dumps(_memory(path) | {_key(network): kept}, indent=1))
            return engine
    return engine


def _memory_files(network: Network) -> list[Path]:
    """Where choices are kept, first the place that is written if it can be."""
    beside = [] if network.folder is None else [network.folder / ENGINES_FILE]
    return [*beside, cache_folder() / ENGINES_FILE]


def _memory(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(network: Network) -> str:
    """A network on a kind of processor; not the number of threads, so that the same command takes the same way."""
    int8 = "int8" if network.int8_images is not None else "fp32"
    return "|".join((network.card.fingerprint, int8, platform.machine(), _chip(), network.device))


def _chip() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
            return names[0] if names else platform.processor()
    except OSError:
        return platform.processor()


class Runner:
    """Runs a network by one engine, opened when it is needed; ``"auto"`` stays open until it has measured.

    Args:
        wanted: an engine's name, or ``"auto"``: torch, until one call brings many images; then what was chosen before,
            or else what is the fastest now. A choice that was asked for (:meth:`choose`) holds from the first image.
        network: gives what to run.

    Attributes:
        measured: what each engine showed, if this runner measured them.
    """

    def __init__(self, wanted: str, network: Callable[[], Network]) -> None:
        check_name(wanted)
        self.wanted = wanted
        self.measured: Mapping[str, Measurement] = {}
        self._network = network
        self._engine: Engine | None = None
        self._for_few: Engine | None = None

    @classmethod
    def of(cls, engine: Engine) -> Runner:
        """A runner of an engine that is open already."""
        self = cls("auto", _no_network)
        self.wanted, self._engine = engine.name, engine
        return self

    @property
    def name(self) -> str:
        """The engine in use, or ``"auto"`` as long as none has been chosen."""
        return self._engine.name if self._engine else self.wanted

    @property
    def used(self) -> str:
        """The engine that described last, or ``"auto"`` if none has."""
        running = self._engine or self._for_few
        return running.name if running else self.wanted

    def __call__(self, pixels: Pixels, expected: int) -> Descriptors:
        """Describe a batch, of ``expected`` images that will come in all."""
        return self._running(pixels, expected)(pixels)

    def choose(self, pixels: Pixels) -> Engine:
        """Measure the engines now, take the fastest that is right, and keep it in place of an earlier choice."""
        return self._choose(pixels, asked=True)

    def _choose(self, pixels: Pixels, *, asked: bool) -> Engine:
        network = self._network()
        fastest, self.measured = choose_engine(network, pixels[:MEASURED_IMAGES])
        name = remember(network, fastest.name, self.measured, asked=asked)
        self._engine = fastest if name == fastest.name else open_engine(name, network)
        return self._engine

    def _running(self, pixels: Pixels, expected: int) -> Engine:
        if self._engine is None and self.wanted == "auto":
            if self._for_few is not None and expected < WORTH_MEASURING:
                # Looking for what another process may have remembered costs a tracker milliseconds at every frame.
                return self._for_few
            name = remembered(self._network(), for_few=expected < WORTH_MEASURING)
            if name is None and expected >= WORTH_MEASURING:
                return self._choose(pixels, asked=False)
            if name is None:
                # A later call may bring more.
                self._for_few = self._for_few or open_engine("torch", self._network())
                return self._for_few
            self._engine = open_engine(name, self._network())
        if self._engine is None:
            self._engine = open_engine(self.wanted, self._network())
        return self._engine


def _no_network() -> Network:
    raise EngineError("An exported file holds no network of torch. Load the run folder it was made from.")
