"""One conversation with the services: a GET or a command, and every way it can end.

httpx is imported by whoever asks: `upgradepath service` is the same program, and has nobody to ask.
"""

from __future__ import annotations

import os
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import ValidationError

from cli.progress import doing, silent
from cli.world import NoAnswer, Person, Place, find_place, world_folder
from shared.contracts.refusals import Refusal
from shared.errors import Reject
from shared.kafka_security import context_trusting
from shared.plaintext import Plaintext, is_allowed, refuse_plaintext_url

if TYPE_CHECKING:
    import httpx

# A publish waits up to 60 s for its verdict, and a long poll up to 20 s.
_ANSWER_WITHIN_S = 90.0
_CONNECT_WITHIN_S = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRIES_MAX = 5
_RETRY_AFTER_MAX_S = 10.0
# A restart of the service, or of a proxy before it, is over by then.
_PAUSE_S = 0.5
_CAFILES = ("UPGRADES_HTTP_CAFILE", "SSL_CERT_FILE")


class Server:
    """The services behind one URL. The place is looked up with the first question, not before.

    Every method raises `Reject` when the answer is no (for a 404 the first refusal's kind is `not-found`),
    and `NoAnswer` when there is none: unreachable, not authenticated, or broken.
    """

    def __init__(self, *, url: str | None, token: str | None, wanted: Person | None, default: Person) -> None:
        self._asked = (url, token, wanted, default)
        self._place: Place | None = None
        self._http: httpx.Client | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            self._http.close()

    @property
    def place(self) -> Place:
        if self._place is None:
            url, token, wanted, default = self._asked
            self._place = find_place(url=url, token=token, wanted=wanted, default=default)
        return self._place

    def decide_for(self, project: str) -> None:
        """Beside a local world its maintainer may decide for every Project of it, a new one too."""
        place, folder = self.place, world_folder()
        if not place.of_world or folder is None:
            return
        from local.world import let_decide

        token = let_decide(folder, project)
        if token is not None and place.identity == "maintainer":
            self._place = replace(place, token=token)
            if self._http is not None:
                self._http.headers["Authorization"] = f"Bearer {token}"

    def read(self, *segments: str, **query: str | int | None) -> Any:
        """The JSON document at this path."""
        return _json(self._ask("GET", segments, query=query))

    def read_all(self, *segments: str, **query: str | int | None) -> list[Any]:
        """Every row of the list at this path, page by page."""
        rows: list[Any] = []
        for page in self._pages(segments, query):
            rows += page
        return rows

    def read_report(self, *segments: str) -> dict[str, Any]:
        """The document at this path, whose lists come in pages."""
        whole: dict[str, Any] = {}
        for page in self._pages(segments, {}):
            for name, rows in page.items():
                whole[name] = whole.get(name, []) + rows if isinstance(rows, list) else rows
        return whole

    def _pages(self, segments: tuple[str, ...], query: dict[str, str | int | None]) -> Iterator[Any]:
        while True:
            answer = self._ask("GET", segments, query=query)
            yield _json(answer)
            link = answer.links.get("next", {}).get("url")
            if link is None:
                return
            # Only the query is taken: where the services are, the link does not say.
            [after] = parse_qs(urlsplit(link).query).get("after", [None])
            if after is None or after == query.get("after"):
                return
            query = {**query, "after": after}

    def read_text(self, *segments: str) -> str:
        """The text at this path."""
        return self._ask("GET", segments).text

    def read_bytes(self, *segments: str, **query: str | int | None) -> bytes:
        """The bytes at this path."""
        return self._ask("GET", segments, query=query).content

    def command(self, *segments: str, body: Mapping[str, object], key: str | None = None) -> Any:
        """Send one command, with a key of its own, so that sending it twice does it once."""
        return _json(self.ask_command(*segments, body=body, key=key))

    def ask_command(
        self, *segments: str, body: Mapping[str, object], key: str | None = None, **query: str
    ) -> httpx.Response:
        """As `command`, for those to whom the status matters (202: there is no verdict yet)."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return self._ask("POST", segments, query={**query}, headers=headers, json=body)

    def upload(self, *segments: str, data: bytes, signature: str | None = None, **query: str) -> Any:
        """Send raw bytes; these doors name what they take by its digest, so a repeat is harmless."""
        headers = {"Content-Type": "application/octet-stream", "X-Release-Signature": signature or ""}
        return _json(self._ask("POST", segments, query={**query}, headers=headers, content=data))

    def _ask(
        self,
        method: str,
        segments: tuple[str, ...],
        *,
        query: dict[str, str | int | None] | None = None,
        headers: dict[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        import httpx

        path = "/" + "/".join(quote(segment, safe="") for segment in segments)
        http = self._connection()
        request = http.build_request(
            method,
            path,
            params={name: value for name, value in (query or {}).items() if value is not None},
            headers=headers,
            json=json,
            content=content,
        )
        # A long poll waits because it was asked to.
        polls = (query or {}).get("wait_s") is not None
        try:
            with silent() if polls else doing(f"asking {segments[0]} at {self.place.url}"):
                response = self._send_twice(http, request)
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise NoAnswer(
                    f"{self.place.url} has a certificate that is not proven: {error}",
                    f"name the file of its authority in {_CAFILES[0]}, and the host as its certificate does",
                ) from error
            raise NoAnswer(
                f"{self.place.url} does not answer: {str(error) or type(error).__name__}",
                "start it, or say where it is with --url or UPGRADEPATH_URL",
                passing=True,
            ) from error
        if response.status_code >= 300:
            raise self._no(response)
        return response

    def _send_twice(self, http: httpx.Client, request: httpx.Request) -> httpx.Response:
        import httpx

        # The second try carries the same Idempotency-Key: if the first one arrived, it is answered alike.
        for _ in range(_TRIES_MAX):
            try:
                answer = http.send(request)
            except httpx.TransportError:
                time.sleep(_PAUSE_S)
                return http.send(request)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                return answer
            time.sleep(_retry_after_s(answer))
        return answer

    def _connection(self) -> httpx.Client:
        import httpx

        if self._http is None:
            place = self.place
            headers = {"Accept": "application/json, application/problem+json, text/plain"}
            if place.token:
                headers["Authorization"] = f"Bearer {place.token}"
            try:
                if place.token:
                    name, allowed = "--url or UPGRADEPATH_URL", is_allowed(os.environ)
                    refuse_plaintext_url(name, place.url, "a bearer token", allowed=allowed)
                host = urlsplit(place.url).hostname
                # What listens on this machine is never behind a proxy.
                trust = host not in _LOOPBACK
                timeout = httpx.Timeout(_ANSWER_WITHIN_S, connect=_CONNECT_WITHIN_S)
                self._http = httpx.Client(
                    base_url=place.url,
                    headers=headers,
                    timeout=timeout,
                    trust_env=trust,
                    verify=_trusted(os.environ),
                )
            except Plaintext:
                raise
            except (httpx.InvalidURL, ValueError, UnicodeError) as error:
                raise NoAnswer(
                    f"{place.url!r} or the token cannot be used: {error}", "correct --url or --token"
                ) from error
        return self._http

    def _no(self, response: httpx.Response) -> Reject | NoAnswer:
        status = response.status_code
        title, refusals = _problem(response)
        if status == 401:
            who = "no token was sent" if self.place.token is None else f"as {self.place.identity}"
            return NoAnswer(
                f"{self.place.url} does not know who asks ({who}): {title}",
                "give --token or UPGRADEPATH_TOKEN, or beside a local world --as library|maintainer|sre",
            )
        if status >= 500:
            return NoAnswer(
                f"{self.place.url} could not answer ({status}): {title}",
                "try again; if it stays so, read the service's log",
                passing=True,
            )
        if refusals:
            return Reject(*refusals)
        kind = {404: "not-found", 403: "forbidden", 409: "conflict"}.get(status, "invalid")
        where = f"{response.request.method} {response.request.url.path}"
        return Reject(
            Refusal.model_validate(
                {
                    "kind": kind,
                    "reason": f"{title} ({status})",
                    "field": where,
                    "cure": "check that --url is the address of upgradepath, and of this version",
                }
            )
        )


def _retry_after_s(response: httpx.Response) -> float:
    """How long to wait before the same is asked again."""
    try:
        return min(float(response.headers.get("retry-after", "1")), _RETRY_AFTER_MAX_S)
    except ValueError:
        return 1.0


def _problem(response: httpx.Response) -> tuple[str, tuple[Refusal, ...]]:
    """The title and the refusals of a problem document; of anything else its reason phrase."""
    plain = response.reason_phrase or "no reason was given"
    try:
        body = response.json()
    except ValueError:
        return plain, ()
    if not isinstance(body, dict):
        return plain, ()
    title = str(body.get("title") or plain)
    try:
        return title, tuple(Refusal.model_validate(refusal) for refusal in body.get("refusals") or ())
    except (ValidationError, TypeError):
        return title, ()


def _trusted(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Trusts an authority of one's own, or else those of the system. Raises `NoAnswer`."""
    named = next((name for name in _CAFILES if environ.get(name)), None)
    if named is None:
        return ssl.create_default_context()
    try:
        return context_trusting(Path(environ[named]), named)
    except ValueError as error:
        raise NoAnswer(str(error), f"correct {named}") from error


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise NoAnswer(
            f"{response.request.url} answered with something else than JSON",
            "check that --url is the address of upgradepath",
        ) from error
