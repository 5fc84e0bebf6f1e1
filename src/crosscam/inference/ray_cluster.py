"""Parts of an extraction, described on the machines of a Ray cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from crosscam.errors import EngineError
from crosscam.inference.bulk import Job, RunJobs, describe_part
from crosscam.inference.descriptor_files import Part
from crosscam.inference.extractor import Extractor
from crosscam.system import needed
from crosscam.system.text import reason_of


def run_on_ray(address: str, open_extractor: Callable[[], Extractor], expected: int) -> RunJobs:
    """Describe parts on a Ray cluster, one worker for each machine.

    Images and model are read by the machines themselves, so their paths must be the same everywhere, as on a shared
    disk.

    Args:
        address: of the cluster, or ``"local"`` for one on this machine.
        open_extractor: opens the model, on a worker.
        expected: images of the whole extraction.
    Raises:
        EngineError: Ray is not installed, or no cluster answers.
    """
    said = "Spreading over machines needs ray: pip install 'crosscam[ray]'."
    ray, util = (needed(name, said, EngineError) for name in ("ray", "ray.util"))
    _check_answer(address)

    class Worker:
        def __init__(self) -> None:
            self.extractor = open_extractor()

        def describe(self, job: Job) -> tuple[int, Part]:
            number, paths = job
            return number, describe_part(self.extractor, paths, expected)

    def run(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = reason_of(error)[:200]
            raise EngineError(f"No Ray cluster at {address} ({reason}). Check --ray, or leave it out.") from error
        machines = [n for n in ray.nodes() if n["Alive"]]
        cores = min(int(n["Resources"].get("CPU", 1)) for n in machines)
        # A worker takes all cores of the smallest machine, so that Ray puts one on each.
        remote: Any = ray.remote(num_cpus=max(1, cores), scheduling_strategy="SPREAD")(Worker)
        try:
            # The pool holds back jobs until a worker is free, so few results are under way at a time.
            pool = util.ActorPool([remote.remote() for _ in machines])
            yield from pool.map_unordered(lambda worker, job: worker.describe.remote(job), list(jobs))
        finally:
            ray.shutdown()

    return run


def _check_answer(address: str) -> None:
    """Ray itself tries a dead address for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.rpartition("//")[2], int(port)), timeout=10).close()
    except OSError as error:
        raise EngineError(f"No Ray cluster answers at {address} ({error}). Check --ray, or leave it out.") from error
