"""The register of issued tokens: who got one, for what and until when, and never the token itself.

It lies beside the private key and is readable by its owner alone: a line of JSON for each token.
"""

import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.key_files import replace_file
from shared.errors import invalid
from shared.identity.claims import header_of, unproven_claims
from shared.identity.revoked import Revocations

NAME = "issued-tokens.jsonl"


class IssuedToken(BaseModel):
    """One issued token, as the register keeps it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    jti: str
    subject: str
    role: str
    projects: tuple[str, ...] = ()
    audience: str
    kid: str
    issued: datetime
    expires: datetime

    @classmethod
    def of(cls, token: str) -> "IssuedToken":
        """Read the claims of a token that this command has issued."""
        claims = unproven_claims(token)
        return cls(
            jti=claims["jti"],
            subject=claims["sub"],
            role=claims["role"],
            projects=claims["projects"],
            audience=claims["aud"],
            kid=header_of(token)["kid"],
            issued=datetime.fromtimestamp(claims["iat"], UTC),
            expires=datetime.fromtimestamp(claims["exp"], UTC),
        )

    def state(self, revoked: Revocations, now: datetime) -> Literal["good", "ended", "revoked"]:
        """Its state for services that know these revocations; they take only a good one."""
        if revoked.calls_back(self.jti, self.subject, self.issued.timestamp()):
            return "revoked"
        return "good" if now < self.expires else "ended"


class TokenRegister:
    """The register in one folder of keys."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def add(self, token: IssuedToken) -> None:
        """Keep it, before anybody gets it. Raises `Reject`: a token that nobody knows of is not issued."""
        try:
            append_line(self.path, token.model_dump_json(), 0o600)
        except OSError as error:
            raise invalid(
                f"{self.path} cannot be written ({error.strerror}), and each token is registered",
                field="--key",
                cure="make the folder of the key writable for you",
            ) from error

    def tokens(self) -> tuple[IssuedToken, ...]:
        """All of them, the newest first; none where there is no register. Raises `Reject`."""
        try:
            # Not `splitlines`: a subject may hold U+2028 or U+0085, which JSON leaves as they are.
            lines = self.path.read_text("utf-8").split("\n")
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise invalid(f"{self.path} cannot be read: {error}", field="--key", cure=_WHERE) from error
        found = []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                found.append(IssuedToken.model_validate_json(line))
            except ValidationError as error:
                raise invalid(
                    f"{self.path}, line {number}, is not an entry of the register",
                    field="--key",
                    cure="restore the line, or take it out: its token counts until it ends all the same",
                ) from error
        return tuple(sorted(found, key=lambda each: each.issued, reverse=True))

    def ends_last(self, kids: Sequence[str], now: datetime) -> datetime | None:
        """When the last token by one of these keys ends; None when none is left."""
        ends = [each.expires for each in self.tokens() if each.kid in kids and each.expires > now]
        return max(ends, default=None)


_WHERE = "name the private key whose register it is"


def append_line(path: Path, line: str, mode: int) -> None:
    """Add a line to a file, which stays the same file; several may do so at once. Raises OSError."""
    with _locked(path, mode) as descriptor:
        size = os.fstat(descriptor).st_size
        # Somebody may have left the last line without its end.
        joined = b"" if not size or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"
        os.write(descriptor, joined + line.encode() + b"\n")
        os.fsync(descriptor)


def leave_out(path: Path, over: Collection[str]) -> tuple[int, int]:
    """Replace the file by one without these lines; how many were left out, of how many. Raises OSError."""
    with _locked(path, 0o644):
        before = path.read_text("utf-8-sig", errors="replace").splitlines()
        after = [line for line in before if line.strip() not in over]
        if len(after) < len(before):
            replace_file(path, "".join(f"{line}\n" for line in after))
    return len(before) - len(after), len(before)


@contextmanager
def _locked(path: Path, mode: int) -> Iterator[int]:
    """The file under this name, which nobody else changes meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                yield descriptor
                return
        finally:
            os.close(descriptor)
