"""Numbers with their nouns, as messages say them."""

import pytest

from crosscam.system.text import counted


@pytest.mark.parametrize(
    ("what", "one", "several"),
    [
        ("camera", "1 camera", "1,200 cameras"),
        ("training identity", "1 training identity", "1,200 training identities"),
        ("day", "1 day", "1,200 days"),
        ("box", "1 box", "1,200 boxes"),
        ("match", "1 match", "1,200 matches"),
        ("epoch", "1 epoch", "1,200 epochs"),
        ("new person", "1 new person", "1,200 new people"),
        ("pair is", "1 pair is", "1,200 pairs are"),
        ("entry has", "1 entry has", "1,200 entries have"),
    ],
)
def test_nouns_and_verbs_agree_with_their_number(what: str, one: str, several: str) -> None:
    assert counted(1, what) == one
    assert counted(1200, what) == several
    assert counted(0, what) == several.replace("1,200", "0")
