"""Two OIDC identity providers on this machine: a small one of ours, and one that others wrote."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

HOST = "127.0.0.1"
CLIENT = "console"
_WITHIN_S = 30.0


class Provider(Protocol):
    issuer: str

    def token(self, subject: str, *groups: str) -> str:
        """An ID token for the client `console`, good for an hour."""

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one is no longer published."""


class OurProvider:
    """Discovery, a JWK Set of P-256 keys, and tokens of any claims."""

    def __init__(self) -> None:
        self.issuer = ""
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.rotate()

    def rotate(self, *, keep: bool = False) -> None:
        self._kid = secrets.token_hex(4)
        self._keys = {**(self._keys if keep else {}), self._kid: ec.generate_private_key(ec.SECP256R1())}

    def token(self, subject: str, *groups: str, **changed: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": subject, "groups": groups, "iat": now}
        claims |= {"exp": now + 3600, **changed}
        return jwt.encode(claims, self._keys[self._kid], algorithm="ES256", headers={"kid": self._kid})

    def document(self, path: str) -> Any:
        if path == "/jwks":
            halves = {kid: key.public_key() for kid, key in self._keys.items()}
            jwks = {kid: ECAlgorithm.to_jwk(half, as_dict=True) for kid, half in halves.items()}
            return {"keys": [{**jwk, "kid": kid, "use": "sig"} for kid, jwk in jwks.items()]}
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}

    @contextmanager
    def running(self) -> Iterator[OurProvider]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(provider.document(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        with ThreadingHTTPServer((HOST, 0), Handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            self.issuer = f"http://{HOST}:{server.server_port}"
            yield self
            server.shutdown()
            thread.join()


class TheirProvider:
    """`oidc-provider-mock`, a program of its own: discovery, the code flow, RS256."""

    def __init__(self) -> None:
        self._port = 0
        self._program: subprocess.Popen[str] | None = None
        self.issuer = ""

    def token(self, subject: str, *groups: str) -> str:
        base = f"http://{HOST}:{self._port}"
        back = f"http://{HOST}/back"
        with httpx.Client(base_url=base, timeout=_WITHIN_S) as client:
            known = client.get("/.well-known/openid-configuration").raise_for_status().json()
            client.put(f"/users/{subject}", json={"groups": groups}).raise_for_status()
            asked = {"client_id": CLIENT, "redirect_uri": back, "response_type": "code"}
            asked |= {"scope": "openid profile", "state": "1"}
            sent = client.post(known["authorization_endpoint"], params=asked, data={"sub": subject})
            [code] = parse_qs(urlsplit(sent.headers["location"]).query)["code"]
            given = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
            answer = client.post(known["token_endpoint"], data=given, auth=(CLIENT, "secret"))
            token: str = answer.raise_for_status().json()["id_token"]
        return token

    def rotate(self) -> None:
        """It makes a key at each start, so it starts again at its address."""
        self._stop()
        self._start()

    @contextmanager
    def running(self) -> Iterator[TheirProvider]:
        try:
            self._start()
            yield self
        finally:
            self._stop()

    def _start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(self._port)]
        self._program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._program.stderr is not None
        for said in self._program.stderr:
            if found := re.search(r"running on http://127\.0\.0\.1:([0-9]+)", said):
                self._port = int(found[1])
                break
        else:
            raise AssertionError("oidc-provider-mock did not start")
        # Whoever keeps writing to a pipe that nobody reads stops.
        Thread(target=self._program.stderr.read, daemon=True).start()
        found_issuer = httpx.get(f"http://{HOST}:{self._port}/.well-known/openid-configuration")
        self.issuer = found_issuer.raise_for_status().json()["issuer"]

    def _stop(self) -> None:
        if self._program is not None:
            self._program.terminate()
            self._program.wait(_WITHIN_S)
            self._program = None
