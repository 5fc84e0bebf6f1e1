"""Questions to people about pairs of entries, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from crosscam.errors import WebError
from crosscam.gallery import Entry, Gallery, GalleryInfo
from crosscam.gallery.answers import ANSWERS, Answer, still_needed, with_new
from crosscam.gallery.calibrated import calibration_of, is_from_elsewhere
from crosscam.gallery.questions import next_question, possible_questions
from crosscam.web.audit import AuditLog
from crosscam.web.remembered import Remembered

SAID = {None: "unsure", True: "same", False: "other"}


def has_several_cameras(info: GalleryInfo) -> bool:
    """Whether matches are looked for at other cameras."""
    return len(info.cameras) > 1


@dataclass(frozen=True)
class Asked:
    """What the calibration page shows about answers.

    Attributes:
        pair: the two entries of the next question; None where all pairs are answered.
        same, other, unsure: answers given.
        same_needed, other_needed: answers that are missing before they become a calibration.
    """

    pair: tuple[Entry, Entry] | None
    same: int
    other: int
    unsure: int
    same_needed: int
    other_needed: int

    @property
    def given(self) -> int:
        """All answers."""
        return self.same + self.other + self.unsure

    @property
    def enough(self) -> bool:
        """Whether they have become a calibration."""
        return not self.same_needed and not self.other_needed


class Asking:
    """Asks about pairs of a gallery.

    Args:
        gallery: opened for reading.
        info: its state.
        writing: opens it for writing for a moment.
        audit: where answers are noted.
    """

    def __init__(
        self,
        gallery: Gallery,
        info: Callable[[], GalleryInfo],
        writing: Callable[[], AbstractContextManager[Gallery]],
        audit: AuditLog,
    ) -> None:
        self._gallery, self._writing, self._audit = gallery, writing, audit
        self._possible = Remembered(info, lambda: possible_questions(self._gallery, across=has_several_cameras(info())))

    def state(self) -> Asked | None:
        """The next question and the answers so far; None where labeled images have calibrated the gallery."""
        calibration, _ = calibration_of(self._gallery)
        if calibration and not calibration.answered and not is_from_elsewhere(self._gallery, calibration):
            return None
        answers = self._answers()
        question = next_question(self._possible.get(), answers)
        pair = None
        if question is not None:
            first, second = self._gallery.get([question.first, question.second])
            pair = (first, second)
        given = [answer.same for answer in answers]
        return Asked(pair, given.count(True), given.count(False), given.count(None), *still_needed(answers))

    def answer(self, first: int, second: int, same: bool | None, who: str) -> None:
        """Keep what somebody says of two entries; None is unsure.

        Raises:
            WebError: a pair that is not asked about, perhaps since an entry was forgotten.
        """
        asked = next((q for q in self._possible.get() if (q.first, q.second) == (first, second)), None)
        if asked is None:
            raise WebError(f"Entries {first} and {second} are not a pair that is asked about; go on with another.")
        self._audit.write(who, "answer", entries=[first, second], said=SAID[same])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = Answer(first, second, asked.distance, same, who, now)
        self._change(lambda kept: with_new(kept, new))

    def take_back(self, who: str) -> None:
        """Forget the last answer."""
        given = self._answers()
        if given:
            last = given[-1]
            self._audit.write(who, "answer", entries=[last.first, last.second], said="cleared")
            self._change(lambda kept: tuple(answer for answer in kept if answer != last))

    def _answers(self) -> tuple[Answer, ...]:
        return ANSWERS.read(self._gallery.document(ANSWERS.document))

    def _change(self, change: Callable[[tuple[Answer, ...]], tuple[Answer, ...]]) -> None:
        with self._writing() as gallery:
            kept = change(ANSWERS.read(gallery.document(ANSWERS.document)))
            gallery.set_document(ANSWERS.document, ANSWERS.write(kept) or None)
