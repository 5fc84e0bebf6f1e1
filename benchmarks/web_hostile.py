"""The server under hostile load, on 127.0.0.1 alone: ``python benchmarks/web_hostile.py``.

1. schemathesis makes up requests from the OpenAPI schema, valid and not.
2. A thousand malformed uploads: images that are cut, spoiled, huge, renamed or none, and bodies that are no form.
3. 200 searches at once, several times.
4. With tokens: every path of the schema and every page, without one.
5. What is made to stop it, see ``web_attacks.py``; ``--attacks`` for these alone.

Expected: no answer above 499, every error of the API one JSON line, memory that does not grow from round to round,
nothing reachable without a token, and a health route that answers within a second throughout. Needs schemathesis and
httpx2 (or httpx), and Linux for the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from web_attacks import attack

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.images import decode_image
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.gallery import NewEntry, create_gallery
from crosscam.gallery.source_network import identify_model
from crosscam.inference.extractor import Extractor
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.checkpoint import save_recipe, save_weights
from crosscam.recipes.settings import with_settings
from crosscam.web.search import preview

try:
    import httpx2 as httpx
except ImportError:
    import httpx

RESULTS = Path(__file__).parent / "results" / "web_hostile.json"
TOKEN = "0123456789abcdef0123456789abcdef"
HTML = {"accept": "text/html"}
PAGES = ["/", "/search?q=e1", "/explain?q=e1&entry=2", "/entries", "/entries/1", "/gallery", "/calibration", "/audit"]
PAGES += ["/export.csv?q=e1", "/export.html?q=e1", "/query/e1/0.jpg", "/static/style.css", "/static/app.js"]
PAGES += ["/api/v1/openapi.json", "/docs", "/redoc", "/nowhere"]


@dataclass
class Answers:
    """What came back.

    Attributes:
        statuses: how often each.
        unclear: errors of the API that were no JSON line.
        broken: requests without an answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    unclear: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def take(self, answer: Any) -> None:
        """Count one answer."""
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 400 and not is_clear(answer):
            self.unclear.append(f"{answer.status_code} {answer.text[:80]!r}")

    @property
    def failures(self) -> int:
        """Answers above 499."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    def to_dict(self) -> dict[str, Any]:
        """For the results."""
        counts = {str(status): count for status, count in sorted(self.statuses.items())}
        return {"statuses": counts, "failures": self.failures, "unclear": self.unclear[:5], "broken": self.broken[:5]}


def is_clear(answer: Any) -> bool:
    """Whether an error is one JSON line with its status."""
    try:
        found = answer.json()
    except ValueError:
        return False
    return answer.text.count("\n") == 1 and set(found) == {"error", "status"} and found["status"] == answer.status_code


def make_gallery(folder: Path) -> tuple[Path, Path, list[bytes]]:
    """A run folder with a small untrained network, a gallery of drawn people, and images to ask with."""
    render_dataset(folder / "people", ids=40, cameras=4, images=3, collide=0.3, seed=0, test_share=0.5)
    dataset = read_dataset(folder / "people")
    torch.manual_seed(0)
    recipe = with_settings(find_recipe("demo"), [])
    model = build_model(recipe, num_ids=0, pretrained=False)
    save_recipe(folder / "run", recipe)
    save_weights(folder / "run", model.state_dict())
    extractor = Extractor.load(folder / "run")
    samples = [s for s in dataset.gallery if s.pid >= 0]
    images = [decode_image(s.path) for s in samples]
    entries = [NewEntry(s.path.name, s.camid, time=1.7e9 + n, track=f"t{s.pid}") for n, s in enumerate(samples)]
    identity = identify_model(folder / "run", extractor)
    with create_gallery(folder / "gallery", extractor.layout, identity) as gallery:
        thumbnails = [preview(p, 256, 256) for p in images]
        gallery.add(extractor(images), entries, thumbnails, model=identity.fingerprint)
    return folder / "run", folder / "gallery", [s.path.read_bytes() for s in dataset.query]


@contextmanager
def served(run: Path, gallery: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Address and process number of a server."""
    command = [sys.executable, "-m", "crosscam", "serve", "--gallery", str(gallery), "--model", str(run), "--port", "0"]
    with open(gallery.parent / "server.log", "a+") as log:
        process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=log, text=True)
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://\S+", line)
            if not found:
                raise SystemExit(f"The server did not start: {line}{process.stderr.read()}")
            yield found[0], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
            if "Traceback" in said:
                print(said[-3000:])
                raise SystemExit("The server's log holds an error.")


def memory(process: int) -> float:
    """Resident memory of a process in MB."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1000


def malformed(images: list[bytes], count: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kinds and keyword arguments of requests that nobody should send."""
    chance = random.Random(seed)
    huge = io.BytesIO()
    Image.fromarray(np.zeros((8000, 8000), np.uint8)).save(huge, "PNG")

    def sent(data: bytes, name: str = "a.jpg", kind: str = "image/jpeg") -> dict[str, Any]:
        return {"files": {"picture": (name, data, kind)}}

    def spoiled(data: bytes) -> bytes:
        spoilt = bytearray(data)
        for _ in range(chance.randint(1, 30)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        return bytes(spoilt)

    def form(body: bytes, kind: str) -> dict[str, Any]:
        return {"content": body, "headers": {"content-type": kind}}

    names = ["../../../etc/passwd", "", "a" * 5000, "\u202ea.jpg", "CON", "a\\b"]
    kinds = ["application/json", "image/jpeg", "text/xml", "x" * 3000]
    numbers = ["-1", "1e9", "NaN", "\x00", "9" * 400]
    weights = ["=", "head=inf", "x=1", "head=1,head=2", "\x00"]
    half = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n'
    boundary = "multipart/form-data; boundary=b"
    makers: dict[str, Callable[[bytes], dict[str, Any]]] = {
        "cut": lambda p: sent(p[: chance.randrange(len(p))]),
        "spoiled": lambda p: sent(spoiled(p)),
        "noise": lambda p: sent(chance.randbytes(chance.randrange(len(p)))),
        "header alone": lambda p: sent(p[:20] + chance.randbytes(200)),
        "text": lambda p: sent(b"<script>alert(1)</script>" * (1 + len(p) % 9), "a.svg", "image/svg+xml"),
        "huge": lambda p: sent(huge.getvalue() + p, "a.png", "image/png"),
        "names": lambda p: sent(p, chance.choice(names)),
        "too many": lambda p: {"files": [("picture", ("a.jpg", p, "image/jpeg"))] * chance.choice([9, 50])},
        "too large": lambda p: sent(p + bytes(17_000_000)),
        "no boundary": lambda p: form(p, "multipart/form-data"),
        "wrong boundary": lambda p: form(b"--a\r\n" + p, boundary),
        "half a form": lambda p: form(half + p[:50], boundary),
        "another kind": lambda p: form(p, chance.choice(kinds)),
        "json": lambda p: form(b"[" * (9000 + len(p)), "application/json"),
        "fields": lambda p: sent(p) | {"data": {"limit": chance.choice(numbers)}},
        "parts": lambda p: sent(p) | {"data": {"parts": chance.choice(weights)}},
    }
    for n in range(count):
        name = list(makers)[n % len(makers)]
        yield name, makers[name](chance.choice(images))


def send_malformed(
    address: str, images: list[bytes], count: int, seed: int
) -> tuple[Answers, dict[str, dict[str, int]]]:
    """Send them, and count."""
    answers, by_kind = Answers(), {}
    with httpx.Client(base_url=address, timeout=60) as client:
        for n, (kind, request) in enumerate(malformed(images, count, seed)):
            path, extra = ("/api/v1/search", {}) if n % 2 else ("/api/v1/entries", {"camid": "1"})
            if "files" in request:
                request = request | {"data": extra | request.get("data", {})}
            try:
                answer = client.post(path, **request)
            except httpx.TransportError as error:
                # The server may hang up on a body that it has refused before it was all sent.
                answers.broken.append(f"{kind}: {type(error).__name__}")
                continue
            answers.take(answer)
            seen = by_kind.setdefault(kind, {})
            seen[str(answer.status_code)] = seen.get(str(answer.status_code), 0) + 1
    return answers, by_kind


async def search_at_once(address: str, images: list[bytes], count: int) -> tuple[Answers, list[float]]:
    """``count`` searches begun at one instant, and how long each took."""
    answers, seconds = Answers(), []
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:

        async def one(n: int) -> None:
            begun = time.perf_counter()
            try:
                if n % 2:
                    image = images[n % len(images)]
                    answer = await client.post("/api/v1/search", files={"picture": ("a.jpg", image, "image/jpeg")})
                else:
                    answer = await client.post("/api/v1/search", data={"query": f"e{1 + n % 100}"})
            except httpx.TransportError as error:
                answers.broken.append(type(error).__name__)
                return
            answers.take(answer)
            seconds.append(time.perf_counter() - begun)

        await asyncio.gather(*(one(n) for n in range(count)))
    return answers, sorted(seconds)


def fuzz(address: str, examples: int, *options: str) -> dict[str, Any]:
    """What schemathesis finds; its checks are of answers above 499, and of answers that the schema does not name."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/api/v1/openapi.json"]
    command += ["--checks", checks, "--max-examples", str(examples), "--mode", "all", "--seed", "1", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "60", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    tested = re.search(r"(\d+) generated|Test cases:\s+(\d+)", done.stdout)
    summary = [line.strip() for line in done.stdout.splitlines() if line.strip()][-12:]
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:])
    cases = next((int(group) for group in (tested.groups() if tested else ()) if group), None)
    return {"passed": done.returncode == 0, "cases": cases, "summary": summary}


def without_token(address: str) -> dict[str, Any]:
    """Statuses of every path without a token, and of one with."""
    counts: Counter[str] = Counter()
    with httpx.Client(base_url=address, timeout=60, follow_redirects=False) as client:
        schema = client.get("/api/v1/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()
        paths = [(m, p.replace("{number}", "1")) for p, verbs in schema["paths"].items() for m in verbs]
        for method, path in [*paths, *(("get", p) for p in PAGES), ("post", "/upload"), ("post", "/feedback")]:
            for headers in ({}, HTML, {"cookie": "crosscam_session=guess"}):
                answer = client.request(method, path, headers=headers)
                to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login?")
                counts["to the login" if to_login else str(answer.status_code)] += 1
        right = client.get("/api/v1/info", headers={"authorization": f"Bearer {TOKEN}"}).status_code
        wrong = [client.get("/api/v1/info", headers={"authorization": f"Bearer {n}"}).status_code for n in range(15)]
    return {"paths": len(paths) + len(PAGES) + 2, "statuses": dict(counts), "right": right, "wrong": wrong}


def main() -> None:
    """Run all five, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--attacks", action="store_true", help="the fifth part alone; the other results are kept")
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if arguments.attacks and RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        run, gallery, images = make_gallery(Path(name))
        (Path(name) / "token").write_text(TOKEN)
        with served(run, gallery, "--token-file", str(Path(name) / "token"), "--rate", "1000000") as (address, process):
            before = memory(process)
            shown, faults = attack(address, TOKEN, images[0], gallery / "audit.jsonl")
            results["attacks"] = shown | {"memory, MB": [round(before, 1), round(memory(process), 1)], "faults": faults}
        for fault in faults:
            print(fault)
        if arguments.attacks:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            sys.exit(bool(faults))
        with served(run, gallery, "--rate", "1000000") as (address, process):
            asyncio.run(search_at_once(address, images, arguments.at_once))
            warm = memory(process)
            keep = ("--exclude-path-regex", "forget|expire", "--exclude-method", "DELETE")
            results["schemathesis"] = fuzz(address, arguments.examples, *keep)
            print("schemathesis:", json.dumps(results["schemathesis"], indent=1))
            after_fuzz = memory(process)
            mb, timings = [], []
            for number in range(arguments.rounds):
                answers, by_kind = send_malformed(address, images, arguments.uploads // arguments.rounds, number)
                together, seconds = asyncio.run(search_at_once(address, images, arguments.at_once))
                results[f"round {number + 1}"] = {"uploads": answers.to_dict(), "searches": together.to_dict()}
                mb.append(round(memory(process), 1))
                timings.append([round(float(np.percentile(seconds, p)), 3) for p in (50, 99)])
                print(f"round {number + 1}: uploads {answers.to_dict()}, searches {together.to_dict()}, {mb[-1]} MB")
            results["kinds of the last round"] = by_kind
            results["memory, MB"] = {"warm": round(warm, 1), "after schemathesis": round(after_fuzz, 1), "rounds": mb}
            results["seconds of a search among all at once, p50 and p99"] = timings
        shutil.copytree(gallery, Path(name) / "spare")
        with served(run, Path(name) / "spare", "--rate", "1000000") as (address, _):
            results["schemathesis, forgetting too"] = fuzz(address, arguments.examples)
        with served(run, gallery, "--token-file", str(Path(name) / "token")) as (address, _):
            results["without a token"] = without_token(address)
            print("without a token:", results["without a token"])
        with served(run, gallery) as (address, _):
            limited, _ = asyncio.run(search_at_once(address, images, 400))
            results["400 at once at the default rate"] = limited.to_dict()
            print("400 at once at the default rate:", limited.to_dict())
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    rounds = [value for key, value in results.items() if key.startswith("round ")]
    failures = sum(value[kind]["failures"] for value in rounds for kind in value)
    unclear = sum(len(value[kind]["unclear"]) for value in rounds for kind in value)
    print(f"{failures} answers above 499, {unclear} unclear errors, memory {results['memory, MB']}")
    fuzzed = [value["passed"] for key, value in results.items() if key.startswith("schemathesis")]
    if failures or unclear or faults or not all(fuzzed):
        sys.exit(1)


if __name__ == "__main__":
    main()
