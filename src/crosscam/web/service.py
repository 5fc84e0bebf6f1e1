"""Everything the page and the API can do, without a word about HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosscam.calibration.calibration import Calibration
from crosscam.errors import ImageError, WebError
from crosscam.experiments.photographs import pair_of, similarity_spread
from crosscam.explain.typical import beyond_chance
from crosscam.gallery import (
    Entry,
    Gallery,
    GalleryInfo,
    Hit,
    NewEntry,
    SearchOptions,
    Where,
    block_weights,
    open_gallery,
    unit_mean,
)
from crosscam.gallery.answers import JUDGMENTS, Judgment, about_known, entry_of, with_new
from crosscam.gallery.calibrated import calibration_of, is_from_elsewhere, verdicts_of
from crosscam.gallery.conditions import refuse_undated, unknown_in
from crosscam.gallery.filling import make_thumbnail
from crosscam.gallery.questions import SAME_IMAGE, typical_pairs
from crosscam.inference.extractor import Extractor
from crosscam.report.pairs import SimilarPair
from crosscam.web.asking import Asking, has_several_cameras
from crosscam.web.audit import AuditLog
from crosscam.web.decoder import Decoders
from crosscam.web.journey_book import JourneyBook, WatchedVideos
from crosscam.web.remembered import Remembered, State
from crosscam.web.search import Found, Known, Query, QueryStore, asked_for, judged, key_of, preview, vars_of
from crosscam.web.server_settings import Limits

# Copies of an uploaded image that are recognized in the gallery.
OWN_COPIES = 5


class MissingError(WebError):
    """Something asked for that is not there."""


class Service:
    """A gallery, opened for reading, with a network to describe uploads.

    Changes open the gallery for writing for their moment alone, so that other programs can add to it in between.

    Args:
        place: the gallery's folder or address.
        extractor: of the gallery's model; None where nothing can be uploaded.
        audit: file in which searches and changes are noted.
        limits: see there.
    Raises:
        GalleryError: there is no gallery, or it is of another model.
        WebError: the audit log cannot be written.
    """

    def __init__(self, place: str, extractor: Extractor | None, audit: Path, limits: Limits) -> None:
        self.place, self.extractor, self.limits = place, extractor, limits
        self.gallery: Gallery = open_gallery(place)
        if extractor is not None:
            self.gallery.check_model(extractor.fingerprint)
        self.audit = AuditLog(audit)
        self.queries = QueryStore(limits.queries, limits.query_seconds)
        self._writing_lock = threading.Lock()
        self._decoders = Decoders(limits.decoders, limits.decode_seconds, limits.pixels)
        # Images are described one after another: a network uses all cores.
        self.describing_lock = threading.Lock()
        self._state = State(self.gallery)
        self._spread = Remembered(self.info, lambda: similarity_spread(self.gallery, self.gallery.ids()))
        self._typical = Remembered(self.info, lambda: typical_pairs(self.gallery))
        self.asking = Asking(self.gallery, self.info, self._writing, self.audit)
        self.journeys = JourneyBook(self.gallery, self._writing, self.audit)
        self.videos = WatchedVideos(self.gallery, self.audit)

    def close(self) -> None:
        """Give the gallery and the log back."""
        self._decoders.close()
        self._state.close()
        self.gallery.close()
        self.audit.close()

    # What the gallery is

    def info(self) -> GalleryInfo:
        """Its state, some seconds old where another program changes it."""
        return self._state.info()

    def calibration(self) -> tuple[Calibration | None, str]:
        """The gallery's calibration; or None, and the reason in one sentence."""
        return calibration_of(self.gallery)

    def entry(self, number: int) -> Entry:
        """One entry.

        Raises:
            MissingError: it is not in the gallery.
        """
        found = self.gallery.entries(Where(ids=(number,)), limit=1)
        if not found:
            raise MissingError(f"There is no entry {number} in the gallery; it may have been forgotten.")
        return found[0]

    def thumbnail(self, number: int) -> bytes:
        """The small image of an entry.

        Raises:
            MissingError: there is no such entry, or no image of it.
        """
        self.entry(number)
        data = self.gallery.thumbnails([number])[0]
        if data is None:
            raise MissingError(f"Entry {number} was added without a small image.")
        return data

    # Searching

    def describe(self, uploads: Sequence[bytes]) -> tuple[NDArray[np.float32], list[NDArray[np.uint8]]]:
        """Decode uploads, and describe them.

        Raises:
            ImageError: an image that cannot be read.
            WebError: there is no network to describe them, or too many images.
        """
        if self.extractor is None:
            raise WebError(
                "Images cannot be uploaded: the server has no network for this gallery. Start it with "
                "--model RUN_FOLDER."
            )
        if not 1 <= len(uploads) <= self.limits.images:
            raise WebError(f"Expected 1 to {self.limits.images} images, found {len(uploads)}.")
        # The turn lasts until they are described: large images take much memory.
        with self._decoders.turn() as turn:
            images = []
            for number, upload in enumerate(uploads, 1):
                try:
                    images.append(turn.decode(upload))
                except ImageError as error:
                    raise ImageError(f"Image {number}: {error}") from error
            with self.describing_lock:
                return self.extractor(images), images

    def upload(self, uploads: Sequence[bytes]) -> Query:
        """Make a query of uploaded images of one person; errors as :meth:`describe`."""
        key = key_of(uploads)
        kept = self.queries.get(key)
        if kept is not None:
            return kept
        descriptors, images = self.describe(uploads)
        query = Query(key, descriptors, tuple(preview(image) for image in images))
        self.queries.put(query)
        return query

    def query(self, key: str) -> Query:
        """A query by its key: an upload, or ``e12`` for entry 12.

        Raises:
            MissingError: an upload that is kept no longer, or an entry that is not there.
        """
        number = entry_of(key)
        if number is None:
            kept = self.queries.get(key)
            if kept is None:
                raise MissingError("This query is kept no longer; upload its image again.")
            return kept
        entry = self.entry(number)
        return Query(f"e{number}", self.gallery.descriptors([number]), entry=number, camid=entry.camid)

    def known(self, query: Query) -> Known:
        """What the gallery knows about a query: an upload may be a copy of an entry's image."""
        if query.entry is not None:
            return Known.of([self.entry(query.entry)])
        found = self.gallery.search(query.descriptors, OWN_COPIES, model=self.gallery.model.fingerprint)
        copies = {hit.entry.id: hit.entry for hits in found for hit in hits if hit.distance <= SAME_IMAGE}
        return Known.of(list(copies.values()))

    def search(
        self, query: Query, options: SearchOptions, who: str, start: int = 0, known: Known | None = None
    ) -> Found:
        """Search with a query and with all that was confirmed for it; what was rejected stays out.

        Args:
            query: an upload or an entry.
            options: how; ``k`` hits are given.
            who: asks.
            start: hits to pass over.
            known: about the query; entries of its own image are left out.
        Raises:
            WebError: weights or numbers out of range.
        """
        if start + options.k > self.limits.hits:
            raise WebError(f"Hits are given up to rank {self.limits.hits:,}; narrow the search by cameras or time.")
        judgments = self.judgments(query.key)
        confirmed = tuple(j.entry for j in judgments if j.same)
        rejected = tuple(j.entry for j in judgments if not j.same)
        known = known or Known()
        own = {entry.id for entry in known.own} | ({query.entry} if query.entry is not None else set())
        asked = asked_for(options, start)
        self.audit.write(who, "search", query=query.key, pictures=len(query.descriptors) + len(confirmed), **asked)
        vector = query.descriptors
        if confirmed:
            vector = np.concatenate([vector, self.gallery.descriptors(confirmed)])
        started = time.perf_counter()
        where = replace(options.where, not_ids=(*sorted(own), *confirmed, *rejected) or None)
        # One more than is shown tells whether there is a next page.
        hits = self._hits(unit_mean(vector), replace(options, where=where, k=start + options.k + 1))
        seconds = time.perf_counter() - started
        calibration, rests_on = verdicts_of(self.gallery, options)
        pair = self.pair(query) if options.keeps_distances else None
        return Found(
            query=query,
            known=known,
            asked=asked,
            hits=judged(hits[start : start + options.k], start, query, known, calibration, pair),
            more=len(hits) > start + options.k,
            confirmed=tuple(self.gallery.get(confirmed)),
            rejected=tuple(self.gallery.get(rejected)),
            note=unknown_in(self.gallery, options.where),
            rests_on=rests_on,
            prior=calibration.prior if calibration else None,
            percentages=calibration.percentages() if calibration else "",
            seconds=seconds,
        )

    def pair(self, query: Query) -> SimilarPair | None:
        """The pair of the page of pairs that a query is in, where distances of one pair tell nothing yet.

        None for an upload, and where the gallery has a calibration of its own cameras.
        """
        calibration, _ = self.calibration()
        if query.entry is None or not is_from_elsewhere(self.gallery, calibration):
            return None
        across = has_several_cameras(self.info())
        return pair_of(self.gallery, self.entry(query.entry), across, self._spread.get())

    def _hits(self, vector: NDArray[np.float32], options: SearchOptions) -> list[Hit]:
        try:
            block_weights(options.weights, self.gallery.layout)
        except ValueError as error:
            raise WebError(str(error)) from error
        return self.gallery.search(vector, options, model=self.gallery.model.fingerprint)[0]

    def explain(self, query: Query, number: int, weights: Mapping[str, float] | None, who: str) -> Hit:
        """The distance of one entry to a query, block by block; errors as :meth:`search` and :meth:`entry`."""
        self.entry(number)
        self.audit.write(who, "explain", query=query.key, entry=number)
        return self._hits(unit_mean(query.descriptors), SearchOptions(1, Where(ids=(number,)), weights))[0]

    def beyond_chance(self, hit: Hit, weights: Mapping[str, float] | None) -> str:
        """Which parts of an explained match agree or differ beyond chance; empty where too few pairs are typical."""
        factors = block_weights(weights, self.gallery.layout)
        typical = self._typical.get()
        weighted = replace(typical, other=typical.other * factors, same=typical.same * factors)
        return beyond_chance(hit.contributions, self.gallery.layout, weighted)

    # Feedback

    def judgments(self, query: str | None = None) -> tuple[Judgment, ...]:
        """What was said, of one query or of all; without entries that were forgotten."""
        found = [j for j in self._judgments_in(self.gallery) if query is None or j.query == query]
        return about_known(found, lambda n: self.gallery.ids(Where(ids=tuple(n)))) if found else ()

    @staticmethod
    def _judgments_in(gallery: Gallery) -> tuple[Judgment, ...]:
        return JUDGMENTS.read(gallery.document(JUDGMENTS.document))

    def judge(self, query: Query, number: int, same: bool | None, who: str) -> tuple[Judgment, ...]:
        """Keep what somebody says of a match; None takes it back. Gives all answers to the query."""
        self.entry(number)
        if number == query.entry:
            raise WebError(f"Entry {number} is the query itself.")
        said = {None: "cleared", True: "same", False: "other"}[same]
        self.audit.write(who, "feedback", query=query.key, entry=number, said=said)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = Judgment(query.key, number, bool(same), who, now)
        with self._writing() as gallery:
            kept = with_new(self._judgments_in(gallery), new, clear=same is None)
            gallery.set_document(JUDGMENTS.document, JUDGMENTS.write(kept))
        return self.judgments(query.key)

    # Changes

    def add(self, uploads: Sequence[bytes], entries: Sequence[NewEntry], who: str) -> list[int]:
        """Add uploaded images; errors as :meth:`describe` and of the gallery."""
        descriptors, images = self.describe(uploads)
        thumbnails = [make_thumbnail(image) for image in images]
        with self._writing() as gallery:
            numbers = gallery.add(descriptors, entries, thumbnails, model=gallery.model.fingerprint)
        self._state.changed()
        self.audit.write(who, "add", entries=numbers)
        return numbers

    def update(self, number: int, changes: dict[str, Any], who: str) -> Entry:
        """Give an entry other data; ``changes`` by field, None clears."""
        self.entry(number)
        self.audit.write(who, "update", entry=number, fields=sorted(changes))
        if changes:
            with self._writing() as gallery:
                gallery.update([number], **changes)
            self._state.changed()
        return self.entry(number)

    def forget(self, where: Where, who: str) -> int:
        """Remove entries for good, and the feedback that names them.

        Raises:
            WebError: no condition.
            MissingError: a condition that names what no entry has.
        """
        if where.everything:
            raise WebError("Say what to forget: entries, people, cameras or a time span. Nothing was forgotten.")
        unknown = unknown_in(self.gallery, where)
        if unknown:
            raise MissingError(f"{unknown} Nothing was forgotten.")
        refuse_undated(self.gallery, where)
        asked = {name: value for name, value in vars_of(where).items() if value is not None}
        self.audit.write(who, "forget", where=asked)
        with self._writing() as gallery:
            count = gallery.forget(where)
        self._state.changed()
        self.audit.write(who, "forgotten", where=asked, entries=count)
        return count

    def expire(self, keep: str, by: Literal["added", "time"], who: str) -> int:
        """Forget what is older than an age such as ``30d``.

        Raises:
            WebError: not an age.
        """
        self.audit.write(who, "expire", keep=keep, by=by)
        with self._writing() as gallery:
            try:
                count = gallery.expire(keep, by=by)
            except ValueError as error:
                raise WebError(str(error)) from error
        self._state.changed()
        self.audit.write(who, "expired", keep=keep, by=by, entries=count)
        return count

    @contextmanager
    def _writing(self) -> Iterator[Gallery]:
        with self._writing_lock, open_gallery(self.place, write=True) as gallery:
            yield gallery
