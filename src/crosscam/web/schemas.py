"""The shapes of the REST API's requests and answers; its OpenAPI schema is made of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from crosscam.gallery import Entry, GalleryInfo, Where
from crosscam.web.search import Found, Ranked, name_of

Number = Annotated[int, Field(ge=1, le=2**53 - 1, examples=[2])]
Camera = Annotated[int, Field(ge=0, le=2**31 - 1)]
Pid = Annotated[int, Field(ge=-1, le=2**53 - 1)]
Seconds = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
# One line of text that can stand in a file name: no control characters.
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
QueryKey = Annotated[str, StringConstraints(pattern=r"^(e[0-9]{1,15}|p[0-9a-f]{24})$"), Field(examples=["e1"])]
Age = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}[smhdw]$")]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=1000)]
Cameras = Annotated[list[Camera], Field(min_length=1, max_length=1000)]


class Strict(BaseModel):
    """A request in which nothing unknown stands, and nothing of another type: ``true`` is no entry 1."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Out(BaseModel):
    """An answer that has fields in common with an object of the gallery."""

    @classmethod
    def taken(cls, source: object, **others: Any) -> Self:
        """The fields that the object has by the same names, and the others."""
        names = cls.model_fields.keys() - others.keys()
        return cls(**{name: getattr(source, name) for name in names}, **others)


class Error(BaseModel):
    """What went wrong, in one line."""

    error: str
    status: int


class EntryOut(Out):
    """One image of the gallery. ``name`` is the last part of the path it was added with; folders are not told."""

    id: int
    name: str
    camid: int
    pid: int | None
    time: float | None
    track: str | None
    added: float

    @classmethod
    def of(cls, entry: Entry) -> EntryOut:
        """Of the gallery's."""
        return cls.taken(entry, name=name_of(entry))


class HitOut(Out):
    """One hit. ``contributions`` add up to the squared distance; they stand in the order of ``/info``'s blocks."""

    rank: int
    entry: EntryOut
    distance: float
    reranked: float | None
    pooled: int
    verdict: Literal["same", "unsure", "other"] | None
    probability: float | None
    contributions: list[float]

    @classmethod
    def of(cls, ranked: Ranked) -> HitOut:
        """Of a search's."""
        hit, told = ranked.hit, {name: getattr(ranked, name) for name in ("rank", "verdict", "probability")}
        return cls.taken(hit, entry=EntryOut.of(hit.entry), contributions=hit.contributions.tolist(), **told)


class SearchOut(Out):
    """The hits, nearest first, and the key under which feedback and explanations know the query.

    ``note`` tells of a camera or a time that was asked for and no entry has; empty where there is nothing.
    """

    query: str
    hits: list[HitOut]
    more: bool
    confirmed: list[int]
    rejected: list[int]
    note: str
    rests_on: str
    prior: float | None
    seconds: float

    @classmethod
    def of(cls, found: Found) -> SearchOut:
        """Of a search's result."""
        hits = [HitOut.of(r) for r in found.hits]
        said = {name: [e.id for e in getattr(found, name)] for name in ("confirmed", "rejected")}
        return cls.taken(found, query=found.query.key, hits=hits, **said)


class BlockOut(BaseModel):
    """One block of the descriptor: the rows of the image it saw, as fractions of the height from the top."""

    name: str
    kind: str
    rows: tuple[float, float]


class CameraOut(BaseModel):
    """How many entries a camera has."""

    camid: int
    entries: int


class InfoOut(Out):
    """The state of the gallery."""

    name: str
    model: str
    model_fingerprint: str
    blocks: list[BlockOut]
    entries: int
    wiped: int
    bytes: int | None
    cameras: list[CameraOut]
    people: int
    tracks: int
    times: tuple[float, float] | None
    added: tuple[float, float] | None
    calibrated: bool
    uploads: bool

    @classmethod
    def of(cls, info: GalleryInfo, name: str, calibrated: bool, uploads: bool) -> InfoOut:
        """Of the gallery's."""
        return cls.taken(
            info,
            name=name,
            model=info.model.name,
            model_fingerprint=info.model.fingerprint,
            blocks=[BlockOut(name=b.name, kind=b.kind, rows=(b.rows[0], b.rows[1])) for b in info.layout],
            cameras=[CameraOut(camid=c, entries=n) for c, n in info.cameras],
            calibrated=calibrated,
            uploads=uploads,
        )


class AddedOut(BaseModel):
    """Ids of what was added, on disk."""

    ids: list[int]


class CountOut(BaseModel):
    """How many entries it was."""

    entries: int


class ChangesIn(Strict):
    """New data of an entry: what is left out stays, null clears."""

    name: Text | None = None
    camid: Camera | None = None
    pid: Pid | None = None
    time: Seconds | None = None
    track: Text | None = None


class ForgetIn(Strict):
    """Which entries are forgotten: all conditions must hold, and there must be one."""

    ids: Numbers | None = None
    pids: Annotated[list[Pid], Field(min_length=1, max_length=1000)] | None = None
    cameras: Cameras | None = None
    time_from: Seconds | None = None
    time_to: Seconds | None = None

    def where(self) -> Where:
        """As the gallery's conditions."""

        def some(values: list[int] | None) -> tuple[int, ...] | None:
            return None if values is None else tuple(values)

        ids, pids, camids = some(self.ids), some(self.pids), some(self.cameras)
        return Where(ids=ids, pids=pids, camids=camids, time_from=self.time_from, time_to=self.time_to)


class ExpireIn(Strict):
    """Forget what is older than an age such as ``30d``, counted from when it was added or from its own time."""

    keep: Age
    by: Literal["added", "time"] = "added"


class ExplainIn(Strict):
    """Which match of which query."""

    query: QueryKey
    entry: Number
    parts: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=dict, max_length=64)


class PartOut(BaseModel):
    """What one block adds to the squared distance; ``share`` is of the whole."""

    name: str
    kind: str
    rows: tuple[float, float]
    squared_distance: float
    share: float


class ExplainOut(BaseModel):
    """A distance taken apart: ``squared_distance`` is the sum of the parts."""

    query: str
    entry: EntryOut
    distance: float
    squared_distance: float
    parts: list[PartOut]


class FeedbackIn(Strict):
    """Whether an entry shows the person of a query; null takes an answer back."""

    query: QueryKey
    entry: Number
    same: bool | None


class JudgmentOut(BaseModel):
    """One answer that was given."""

    query: str
    entry: int
    same: bool
    who: str
    when: str


class FeedbackOut(BaseModel):
    """All answers to a query."""

    judgements: list[JudgmentOut]  # the spelling that clients of earlier versions read


class EntriesOut(BaseModel):
    """A page of entries, by rising id."""

    entries: list[EntryOut]
    start: int
    more: bool
