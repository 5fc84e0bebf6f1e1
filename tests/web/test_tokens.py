"""Tokens, addresses and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.errors import WebError
from crosscam.web.clients import CLIENTS, Rate
from crosscam.web.server_settings import Settings, digest, read_tokens

TOKEN = "0123456789abcdef0123"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_what_others_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(WebError, match=r"needs a token.*--token-file"):
        Settings(host=host)
    assert not Settings(host=host, tokens={digest(TOKEN): "anna"}).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_none(host: str) -> None:
    assert Settings(host=host).loopback


def test_names_by_which_it_may_be_called() -> None:
    assert Settings().allowed_hosts == {"127.0.0.1", "localhost", "[::1]"}
    tokens = {digest(TOKEN): "anna"}
    assert Settings(host="0.0.0.0", tokens=tokens).allowed_hosts is None
    assert Settings(host="0.0.0.0", tokens=tokens, host_names=("Find.Me",)).allowed_hosts == {"0.0.0.0", "find.me"}


def test_tokens_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of the night shift\n{TOKEN}\n\nanna {TOKEN}x\n")
    settings = Settings(tokens=read_tokens(file))
    assert settings.holder_of(TOKEN) == "token"
    assert settings.holder_of(f"{TOKEN}x") == "anna"
    assert settings.holder_of(TOKEN[:-1]) is None
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize("text", ["short", "", "# nothing", f"a b {TOKEN}", f"an/na {TOKEN}", f"{TOKEN}\u00e9"])
def test_what_is_no_token(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(WebError, match="Expected"):
        read_tokens(file)
    with pytest.raises(WebError, match="cannot be read"):
        read_tokens(tmp_path / "nowhere")


def test_a_rate_fills_up_evenly() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.take("a") for _ in range(60)] == [0] * 60
    assert rate.take("a") == 1
    assert rate.empty("a")
    assert rate.take("b") == 0
    now[0] = 2.0
    assert [rate.take("a") for _ in range(3)] == [0, 0, 1]
    now[0] = 1e6
    assert [rate.take("a") for _ in range(61)] == [0] * 60 + [1]


def test_rates_do_not_grow_with_the_clients() -> None:
    rate = Rate(60)
    for n in range(CLIENTS + 500):
        rate.take(str(n))
    assert len(rate._left) == CLIENTS
