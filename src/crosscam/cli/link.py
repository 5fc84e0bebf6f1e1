"""``crosscam link``: who walked from camera to camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from crosscam.cli.options import General, Unset
from crosscam.cli.parsing import flag
from crosscam.cli.show import listing, say, show_json
from crosscam.errors import ArgumentError
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journeys import Journeys, in_percent, read_journeys
from crosscam.gallery.judging import LinkOptions, read_transits
from crosscam.gallery.link_runs import LinkRun, decide, link_gallery
from crosscam.gallery.local import open_gallery, opened_for_writing, working_alone
from crosscam.gallery.people import People
from crosscam.gallery.store import PATIENCE
from crosscam.report.hits import when
from crosscam.report.journey_report import write_journeys
from crosscam.system.files import check_file, check_folder, write_atomically
from crosscam.system.text import FIRST_DATE, counted
from crosscam.video.journey_truth import JourneyScores, check_truth, score_journeys
from crosscam.video.mot import write_mot

BY = "command line"
TwoPeople = Annotated[tuple[int, int] | None, arg(metavar="PERSON PERSON", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Deciding:
    """What you decide overrules what is computed; then nothing is linked anew. One decision at a time."""

    confirm: Unset[int] = None
    """All tracks of this person are one person."""
    split: Unset[tuple[int, ...]] = None
    """These tracks, by the numbers in the column "first", are another person than the rest."""
    merge: TwoPeople = None
    """These two people are one."""
    apart: TwoPeople = None
    """These two people are two, and are not proposed again."""
    undo: bool = False
    """Take the last decision back."""

    def chosen(self) -> str | None:
        """The one decision that is given; ArgumentError if there are several."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        # By identity: person 0, who is not there, equals False.
        given = [name for name, value in values.items() if value is not None and value is not False]
        if len(given) > 1:
            raise ArgumentError(f"--{given[0]} and --{given[1]} are two decisions. Give one at a time.")
        return given[0] if given else None

    def change(self, people: People, who: str, moment: str) -> People:
        """The people after the decision."""
        if self.confirm is not None:
            return people.confirm(self.confirm, who, moment)
        if self.split is not None:
            return people.split(self.split, who, moment)
        if self.merge is not None:
            return people.merge(*self.merge, who, moment)
        return people.undo() if self.apart is None else people.apart(*self.apart, who, moment)


@dataclass(frozen=True, kw_only=True)
class Linking(LinkOptions):
    """How tracks are linked."""

    distance: Unset[float] = None
    """Distance of two tracks that is even odds, in place of what the gallery tells."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """Find out which tracks of a gallery are one person, and show everybody's way from camera to camera.

    Sure links are made; unsure ones are only proposed. A second run looks at new tracks alone and leaves people as they
    are.
    """

    gallery: Annotated[Positional[str], arg(metavar="GALLERY")]
    """The gallery; its entries need tracks, and better have times."""
    transit: Unset[Path] = None
    """CSV table of usual times between cameras: from,to,seconds,spread. Without it they are learned."""
    again: bool = False
    """Link all tracks anew. What you decided holds."""
    show: bool = False
    """Show what earlier runs found, and link nothing."""
    csv: Unset[Path] = None
    """Also write the table: a row for each track."""
    report: Unset[Path] = None
    """Also write one HTML page: each person's way over the cameras, with images, times and the reasons of links."""
    mot: Unset[Path] = None
    """Also write MOT Challenge text to this folder: for each camera the boxes of the images that the gallery keeps,
    with the person's number as id."""
    truth: Unset[Path] = None
    """Who the tracks really are: a CSV table camera,track,person and perhaps boxes, or the folder of drawn videos that
    were watched; prints multi-camera IDF1, and precision and recall of links."""
    linking: Linking = field(default_factory=Linking)
    deciding: Deciding = field(default_factory=Deciding)
    general: General = field(default_factory=General)

    def run(self) -> None:
        decision = self.deciding.chosen()
        still = f"--{decision}" if decision else "--show" if self.show else None
        idle = {"--show": decision and self.show, "--again": self.again, "--transit": self.transit}
        idle |= {
            flag(each.name): getattr(self.linking, each.name) != each.default
            for each in dataclasses.fields(self.linking)
        }
        ignored = next((name for name, given in idle.items() if given), None)
        if still and ignored:
            raise ArgumentError(f"{still} links nothing, so {ignored} would change nothing. Leave it out.")
        check_file(self.csv)
        check_file(self.report)
        check_folder(self.mot)
        if self.truth is not None and (unused := check_truth(self.truth)):
            say(f"note: {unused}")
        run: LinkRun | None = None
        with open_gallery(self.gallery) as gallery:
            if decision:
                with opened_for_writing(gallery) as writer:
                    decide(writer, self.deciding.change, BY)
            elif not self.show:
                run = self._link(gallery)
            found = read_journeys(gallery)
            names = gallery.camera_names()
            scores = None if self.truth is None else score_journeys(gallery, found, self.truth)
            self._write(gallery, found)
        _tell_of_clocks(found)
        if self.general.json:
            show_json(_as_json(found, run, scores))
        else:
            _show(found, run, scores, names)

    def _link(self, gallery: Gallery) -> LinkRun:
        names, camids = gallery.camera_names(), {camid for camid, _ in gallery.info().cameras}
        transits = None if self.transit is None else read_transits(self.transit, names, camids)
        # Whoever links second has the people of the first.
        with working_alone(gallery, "link", f"{self.gallery} is being linked", wait=PATIENCE):
            return link_gallery(gallery, self.linking, transits=transits, again=self.again)

    def _write(self, gallery: Gallery, found: Journeys) -> None:
        if self.csv is not None:
            write_atomically(self.csv, found.to_csv())
        if self.report is not None:
            name = Path(self.gallery).name or self.gallery
            write_journeys(self.report, gallery, found, name)
            say(f"Written to {self.report}.")
        if self.mot is not None:
            made = write_mot(self.mot, gallery, found)
            left = f" {counted(made.without_box, 'image')} without a box in a video left out." * bool(made.without_box)
            boxes, files = counted(made.boxes, "box"), counted(len(made.texts), "file")
            say(f"{boxes} in {files} written to {self.mot}.{left}")


def _tell_of_clocks(found: Journeys) -> None:
    """Say where times of several cameras have no date, so that they are compared as if all videos began together."""
    timed = [(t.camera, t.start) for person in found.people for t in person.tracks if t.start is not None]
    undated = sorted({camera for camera, start in timed if start < FIRST_DATE})
    if undated and len({camera for camera, _ in timed}) > 1:
        say(
            f"note: the times of {', '.join(undated)} count from the first frame of each video, as if all had begun at "
            "the same moment, and are not compared with dates. 'crosscam watch --start' says when a video began."
        )


def _show(found: Journeys, run: LinkRun | None, scores: JourneyScores | None, names: Mapping[int, str]) -> None:
    rows = []
    for person in found.people:
        for track, link in zip(person.tracks, person.links, strict=True):
            sure = "" if link is None or link.probability is None else in_percent(link.probability)
            said = "" if link is None else ("confirmed" if link.confirmed else "; ".join(link.reasons))
            times = [when(track.start).removesuffix(" UTC"), when(track.end).removesuffix(" UTC")]
            rows.append(
                (str(person.number), track.camera, *times, str(len(track.entries)), str(track.name), sure, said)
            )
    heads = ("person", "camera", "from", "to", "images", "first", "linked", "why")
    listing(heads, rows, right=("person", "images", "first", "linked"))
    several = sum(len(person.cameras) > 1 for person in found.people)
    say(f"{counted(len(found.people), 'person')}, {several} of them at more than one camera.")
    if found.unlinked:
        say(f"{counted(found.unlinked, 'track')} not linked yet: 'crosscam link' looks at them.")
    for proposal in found.proposals:
        probability = proposal.link.probability or 0.0
        why = "; ".join(proposal.link.reasons)
        say(f"unsure: people {proposal.first} and {proposal.second} may be one ({in_percent(probability)}): {why}.")
    if run is not None:
        tracks, people = counted(run.new_tracks, "new track"), counted(run.new_people, "new person")
        say(f"{tracks}: {run.joined:,} joined people of earlier runs, {people}.")
        for (start, end), way in sorted(run.transits.items()):
            basis = f"learned from {counted(way.pairs, 'pair')}" if way.pairs else "given"
            text = f"{way.seconds:.1f} s, spread {way.spread:.1f} s"
            say(f"From camera {names.get(start, start)} to {names.get(end, end)}: {text} ({basis}).")
        say(run.told)
    if scores is not None:
        say(
            f"Multi-camera IDF1 {scores.idf1:.1%} (precision {scores.idp:.1%}, recall {scores.idr:.1%}); links: "
            f"precision {scores.link_precision:.1%}, recall {scores.link_recall:.1%}; {scores.people} true people, "
            f"{scores.found} found."
        )
        if scores.strange:
            strange = counted(scores.strange, "track")
            say(f"note: the truth does not know {strange} of these: each counts as somebody who is not there.")
        if scores.absent:
            absent = counted(scores.absent, "track")
            say(f"note: the truth has {absent} that no journey has: boxes count as missed, links not at all.")


def _as_json(found: Journeys, run: LinkRun | None, scores: JourneyScores | None) -> dict[str, Any]:
    result = {
        "people": [dataclasses.asdict(person) for person in found.people],
        "proposals": [dataclasses.asdict(proposal) for proposal in found.proposals],
        "unlinked": found.unlinked,
    }
    if run is not None:
        transits = [
            {"from": start, "to": end, **dataclasses.asdict(way)} for (start, end), way in sorted(run.transits.items())
        ]
        told = {"new_tracks": run.new_tracks, "new_people": run.new_people, "joined": run.joined, "told": run.told}
        result |= {"run": told | {"transits": transits}}
    return result if scores is None else result | {"scores": dataclasses.asdict(scores)}
