"""An OAuth 2.0 token endpoint on this machine, for clients of Kafka that come in with bearer tokens."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.support.secured_kafka import AUDIENCE, ISSUER

_KEY = ec.generate_private_key(ec.SECP256R1())
_KID = "tests"
HOST = "127.0.0.1"
JWKS = json.dumps(
    {"keys": [{**ECAlgorithm.to_jwk(_KEY.public_key(), as_dict=True), "kid": _KID, "use": "sig"}]}
)


def bearer(
    subject: str, *, good_for_s: float = 60, audience: str = AUDIENCE, key: ec.EllipticCurvePrivateKey = _KEY
) -> str:
    """A token with which a client of Kafka comes in as `subject`."""
    now = int(time.time())
    claims = {"sub": subject, "iss": ISSUER, "aud": audience, "iat": now, "exp": now + int(good_for_s)}
    return jwt.encode({**claims, "scope": "kafka"}, key, algorithm="ES256", headers={"kid": _KID})


class TokenEndpoint:
    """Answers client credentials with a token for the client's id; `asked` are the bodies that came."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.asked: list[dict[str, list[str]]] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[TokenEndpoint]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                endpoint.asked.append(parse_qs(body))
                given = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                client, _, secret = given.partition(":")
                known = secret == endpoint.secret
                answer = {"access_token": bearer(client), "expires_in": 60} if known else {"error": "no"}
                text = json.dumps(answer).encode()
                self.send_response(200 if known else 401)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        with HTTPServer((HOST, 0), Handler) as server:
            thread = Thread(target=server.serve_forever, daemon=True)
            thread.start()
            self.url = f"http://{HOST}:{server.server_port}/token"
            yield self
            server.shutdown()
            thread.join()
