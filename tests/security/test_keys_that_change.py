"""Keys and revocations while a service runs: files that change, vanish or are spoilt; lying addresses."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from shared.identity import revoked
from shared.identity.issuer_keys import KeysAtUrl
from shared.identity.key_fetching import KeyClient
from shared.identity.key_sources import KeyFile
from shared.identity.keys import SigningKey
from shared.identity.revoked import RevokedTokens
from shared.identity.tokens import InvalidToken, TokenVerifier
from tests.security.token_attacks import claims, signed
from tests.support.kept_dates import write_keeping_date

OLD, NEW = SigningKey.new("2026"), SigningKey.new("2027")
BOTH = OLD.public() | NEW.public()
JWK: dict[str, Any] = json.loads(OLD.public().jwks())["keys"][0]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait_h(self, hours: float) -> None:
        self.now_s += hours * 3600


def of(key: SigningKey, **changed: Any) -> str:
    return signed(claims(**changed), {"kid": key.kid}, key.private)


# --- files of keys -------------------------------------------------------------------------------


def test_a_rotation_in_a_file_never_refuses_a_valid_token(tmp_path: Path) -> None:
    """Old alone, both, new alone: would catch a file that is read at the start only, or too late."""
    path = tmp_path / "keys.json"
    path.write_text(OLD.public().jwks())
    verifier = TokenVerifier(KeyFile(path))
    before, after = of(OLD), of(NEW)
    verifier.verify(before)
    path.write_text(BOTH.jwks())
    verifier.verify(before)
    verifier.verify(after)
    path.write_text(NEW.public().jwks())
    verifier.verify(after)
    with pytest.raises(InvalidToken, match="does not trust"):
        verifier.verify(before)


def test_a_file_with_the_size_and_date_of_before_is_read_again(tmp_path: Path) -> None:
    """Would catch a key that counts on after `cp --preserve` or a restored backup brought another one."""
    path = tmp_path / "keys.json"
    path.write_text(OLD.public().jwks())
    source = KeyFile(path)
    write_keeping_date(path, NEW.public().jwks())
    assert list(source.keys()) == ["2027"]


def test_a_mounted_secret_is_exchanged_by_its_link(tmp_path: Path) -> None:
    for name, key in (("one", OLD), ("two", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.json").write_text(key.public().jwks())
    (tmp_path / "data").symlink_to("one")
    source = KeyFile(tmp_path / "data" / "keys.json")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "data")
    assert list(source.keys()) == ["2027"]


def test_the_very_file_that_was_away_is_good_for_more_than_a_day(tmp_path: Path) -> None:
    """Would catch a lockout a day after a mount was gone for a moment: nobody read the same file again."""
    path, clock = tmp_path / "keys.json", Clock()
    path.write_text(OLD.public().jwks())
    source = KeyFile(path, clock=clock)
    path.rename(tmp_path / "away")
    assert list(source.keys()) == ["2026"]
    assert "count 24.0 h more" in (source.trouble() or "")
    (tmp_path / "away").rename(path)
    assert (list(source.keys()), source.trouble()) == (["2026"], None)
    clock.wait_h(25)
    assert list(source.keys()) == ["2026"]


SPOILT = {
    "blank": "",
    "cut": "{",
    "a list": "[]",
    "no keys": '{"keys": []}',
    "keys as a table": '{"keys": {}}',
    "a number": '{"keys": [7]}',
    "a shared secret": '{"keys": [{"kty": "oct", "k": "AAAA"}]}',
    "a private key": json.dumps({"keys": [{**JWK, "d": "AAAA"}]}),
    "a short point": json.dumps({"keys": [{**JWK, "x": "AAAA"}]}),
    "another curve": json.dumps({"keys": [{**JWK, "crv": "Ed448"}]}),
    "a kind that is no text": json.dumps({"keys": [{**JWK, "kty": 7}]}),
    "one name twice": json.dumps(
        {"keys": [JWK, {**json.loads(NEW.public().jwks())["keys"][0], "kid": "2026"}]}
    ),
    "zeros": "\x00" * 100,
    "deep": "[" * 100_000,
    "long": '{"keys": [' + " " * (1 << 20) + "]}",
    "no PEM": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    "a private PEM": OLD.pem(),
}
"""By names that stay: the keys are new in each process, and xdist compares what was collected."""


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("of_an_issuer", [True, False], ids=["an issuer's", "ours"])
def test_a_spoilt_file_keeps_the_last_keys_for_a_day_and_no_longer(
    tmp_path: Path, spoilt: str, of_an_issuer: bool
) -> None:
    """Would catch a key that counts for ever because nobody can read that it was taken away."""
    path, clock = tmp_path / "keys.json", Clock()
    path.write_text(OLD.public().jwks())
    source = KeyFile(path, of_an_issuer=of_an_issuer, clock=clock)
    path.write_text(SPOILT[spoilt])
    assert list(source.keys()) == ["2026"]
    clock.wait_h(23.9)
    assert list(source.keys()) == ["2026"]
    clock.wait_h(0.2)
    assert list(source.keys()) == []
    assert "count no longer" in (source.trouble() or "")
    path.write_text(NEW.public().jwks())
    assert (list(source.keys()), source.trouble()) == (["2027"], None)


# --- keys at an address --------------------------------------------------------------------------


class Address:
    """Answers with `body`; a path other than /jwks and an odd status show what is followed."""

    def __init__(self) -> None:
        self.body, self.status = BOTH.jwks().encode(), 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[Address]:
        address = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address.asked.append(self.path)
                self.send_response(address.status)
                for name, value in address.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(address.body)))
                self.end_headers()
                try:
                    self.wfile.write(address.body)
                except OSError:
                    self.close_connection = True  # the reader has had enough

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_port}/jwks"
            yield self
            server.shutdown()
            thread.join()


async def test_keys_at_an_address_rotate_grow_stale_and_come_back() -> None:
    """Every answer that gives no keys keeps the last ones, for their term alone; nothing is followed."""
    clock = Clock()
    with Address().running() as address:
        client = KeyClient(None, allow_plaintext=False)
        source = KeysAtUrl("acme", lambda: client.keys_at(address.url), 24 * 3600, clock)
        verifier, token = TokenVerifier(source), of(OLD)
        await source.refresh()
        verifier.verify(token)
        for status, body, headers, why in (
            (302, b"", {"Location": "/elsewhere"}, "redirects are not followed"),
            (500, b"", {}, "status 500"),
            (200, b"x" * 300_000, {}, "more than"),
            (200, b"{}", {"Content-Encoding": "gzip"}, "compressed"),
            (200, b"nothing", {}, "not JSON"),
            (200, b'{"keys": []}', {}, "no key"),
        ):
            address.status, address.body, address.headers = status, body, headers
            await source.refresh()
            assert why in (source.trouble() or ""), why
            verifier.verify(token)
        assert {*address.asked} == {"/jwks"}
        clock.wait_h(24.1)
        with pytest.raises(InvalidToken, match="does not trust"):
            verifier.verify(token)
        address.status, address.body, address.headers = 200, NEW.public().jwks().encode(), {}
        await source.refresh()
        verifier.verify(of(NEW))
        with pytest.raises(InvalidToken, match="does not trust"):
            verifier.verify(token)


# --- the list of revoked tokens ------------------------------------------------------------------


def _listed(path: Path, text: str, clock: Clock | None = None) -> TokenVerifier:
    path.write_text(text)
    return TokenVerifier(BOTH, RevokedTokens(path, clock or Clock()))


def test_a_large_list_is_still_read_to_its_end_and_says_that_it_is_large(tmp_path: Path) -> None:
    """Would catch a lost token that counts on because its line came after the first mebibyte."""
    path = tmp_path / "revoked"
    verifier = _listed(path, "")
    path.write_text("gone-0123456789abcdef\n" * (revoked.TIDY_BYTES // 20) + "lost\n")
    with pytest.raises(InvalidToken, match="revoked"):
        verifier.verify(of(OLD, jti="lost"))
    verifier.verify(of(OLD, jti="kept"))
    assert any("leave out what has expired" in each for each in verifier.troubles())


def test_of_a_list_that_is_too_large_nobody_can_tell_so_every_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoked, "BYTES_MAX", 1000)
    path = tmp_path / "revoked"
    verifier = _listed(path, "")
    path.write_text("gone\n" * 300 + "lost\n")
    for jti in ("lost", "kept"):
        with pytest.raises(InvalidToken, match="nobody can tell"):
            verifier.verify(of(OLD, jti=jti))
    path.write_text("lost\n")
    verifier.verify(of(OLD, jti="kept"))
    assert verifier.troubles() == []
    path.write_text("gone\n" * 300)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        RevokedTokens(path)


def test_a_list_that_is_away_counts_for_a_day_and_then_nobody_is_let_in(tmp_path: Path) -> None:
    """Would catch revocations that a lost mount switches off for ever, and a trouble that never ends."""
    path, clock = tmp_path / "revoked", Clock()
    verifier = _listed(path, "lost\n", clock)
    assert verifier.revoked is not None
    path.rename(tmp_path / "away")
    verifier.verify(of(OLD, jti="kept"))
    with pytest.raises(InvalidToken, match="was revoked"):
        verifier.verify(of(OLD, jti="lost"))
    clock.wait_h(25)
    assert verifier.revoked.unread_s() == pytest.approx(25 * 3600)
    with pytest.raises(InvalidToken, match="nobody can tell"):
        verifier.verify(of(OLD, jti="kept"))
    (tmp_path / "away").rename(path)
    verifier.verify(of(OLD, jti="kept"))
    assert (verifier.troubles(), verifier.revoked.unread_s()) == ([], 0.0)


# --- claims that stand twice ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iss", "sub", "role", "exp", "aud"])
def test_a_claim_that_stands_twice_proves_nobody(name: str) -> None:
    """Readers differ in which one counts: who checks the first must not prove the last."""

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = json.dumps({**claims(iss="a"), "exp": time.time() + 60})
    doubled = text[:-1] + f', "{name}": "other"}}'
    head = b64(b'{"alg":"EdDSA","kid":"2026"}')
    said = f"{head}.{b64(doubled.encode())}"
    token = f"{said}.{b64(OLD.private.sign(said.encode()))}"
    with pytest.raises(InvalidToken, match="each name stands once"):
        TokenVerifier(BOTH).verify(token)
