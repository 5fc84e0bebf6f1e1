"""Stores that a gallery could have been built on, each by its own means; for the step "engines" of gallery.py."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CrosscamEngine:
    """A gallery's folder."""

    def __init__(self, place: Path, dim: int) -> None:
        from crosscam.gallery import ModelIdentity
        from crosscam.gallery.local import LocalGallery
        from crosscam.models.output import Block

        self.place = place / "g"
        layout = (Block("all", 0, dim, 1, "global", (0.0, 1.0)),)
        self.gallery = LocalGallery.create(self.place, layout, ModelIdentity("bench", "made up"))

    def add(self, first: int, rows: NDArray[np.float32], camids: NDArray[np.int64]) -> None:
        from crosscam.gallery import NewEntry

        entries = [NewEntry(f"{first + i}.jpg", int(camid)) for i, camid in enumerate(camids)]
        self.gallery.add(rows, entries, model="bench")

    def settle(self) -> None:
        """Nothing to do."""

    def search(self, query: NDArray[np.float32], camid: int | None) -> list[int]:
        from crosscam.gallery import Where

        where = Where() if camid is None else Where(camids=(camid,))
        return [hit.entry.id - 1 for hit in self.gallery.search(query[None], 10, model="bench", where=where)[0]]

    def forget(self, number: int) -> None:
        from crosscam.gallery import Where

        self.gallery.forget(Where(ids=(number + 1,)))

    def second_writer(self) -> str:
        from crosscam.gallery.local import LocalGallery

        try:
            LocalGallery.open(self.place, write=True)
        except Exception as error:
            return f"refused: {type(error).__name__}"
        return "accepted"


class LanceEngine:
    """A LanceDB table without an index: its exact search."""

    def __init__(self, place: Path, dim: int) -> None:
        import lancedb

        self.place, self.dim = str(place / "lance"), dim
        self.database = lancedb.connect(self.place)
        self.table: Any = None

    def add(self, first: int, rows: NDArray[np.float32], camids: NDArray[np.int64]) -> None:
        data = self._arrow(first, rows, camids)
        if self.table is None:
            self.table = self.database.create_table("g", data)
        else:
            self.table.add(data)

    def settle(self) -> None:
        self.table.optimize()

    def search(self, query: NDArray[np.float32], camid: int | None) -> list[int]:
        asked = self.table.search(query).limit(10)
        if camid is not None:
            asked = asked.where(f"cam = {camid}", prefilter=True)
        found: list[int] = asked.select(["id", "_distance"]).to_arrow()["id"].to_pylist()
        return found

    def forget(self, number: int) -> None:
        """Delete, then rewrite and remove everything old that it offers to remove."""
        self.table.delete(f"id = {number}")
        self.table.optimize(cleanup_older_than=datetime.timedelta(0), delete_unverified=True)

    def second_writer(self) -> str:
        import lancedb

        other = lancedb.connect(self.place).open_table("g")
        other.add(self._arrow(10**6, np.zeros((1, self.dim), np.float32), np.array([1])))
        return "accepted"

    def _arrow(self, first: int, rows: NDArray[np.float32], camids: NDArray[np.int64]) -> Any:
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), self.dim)
        ids = pa.array(np.arange(first, first + len(rows)))
        return pa.table({"id": ids, "cam": pa.array(camids), "vector": vectors})


class MilvusEngine:
    """Milvus Lite with a flat index."""

    def __init__(self, place: Path, dim: int) -> None:
        from pymilvus import DataType, MilvusClient

        self.place = str(place / "milvus.db")
        self.client = MilvusClient(self.place)
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("cam", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        parameters = self.client.prepare_index_params()
        parameters.add_index("vector", index_type="FLAT", metric_type="L2")
        self.client.create_collection("g", schema=schema, index_params=parameters)

    def add(self, first: int, rows: NDArray[np.float32], camids: NDArray[np.int64]) -> None:
        data = [
            {"id": first + i, "cam": int(c), "vector": r} for i, (r, c) in enumerate(zip(rows, camids, strict=True))
        ]
        self.client.insert("g", data)

    def settle(self) -> None:
        self.client.flush("g")
        self.client.load_collection("g")

    def search(self, query: NDArray[np.float32], camid: int | None) -> list[int]:
        condition = "" if camid is None else f"cam == {camid}"
        found = self.client.search("g", [query], limit=10, anns_field="vector", filter=condition)[0]
        return [hit["id"] for hit in found]

    def forget(self, number: int) -> None:
        self.client.delete("g", ids=[number])
        self.client.flush("g")
        self.client.compact("g")
        time.sleep(3)

    def second_writer(self) -> str:
        code = f"from pymilvus import MilvusClient; MilvusClient({self.place!r}).list_collections()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return "accepted" if done.returncode == 0 else "refused, readers as well"


ENGINES: dict[str, type[CrosscamEngine] | type[LanceEngine] | type[MilvusEngine]] = {
    "crosscam": CrosscamEngine,
    "lancedb": LanceEngine,
    "milvus-lite": MilvusEngine,
}
