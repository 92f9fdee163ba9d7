"""Who is asked about an error of a Project's database, about what, and with which cure. Pure.

Source of the codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from dataclasses import dataclass, replace
from typing import Literal

from shared.contracts.stages import Finding

Place = Literal["migration", "way down", "copy", "mask", "probe", "restore", "activate"]
"""Where it happened. The two first run a script of a package or of the Project; the others run our own."""
Asked = Literal["publisher", "maintainer", "administrator"]
"""All of them by the Project's maintainer, who decides: the release's publisher, the server's keeper."""
FindingKind = Literal["migration", "environment", "project-file"]


@dataclass(frozen=True)
class Verdict:
    """`passes`: the same again may succeed, so it is tried before anybody is asked."""

    asked: Asked
    kind: FindingKind
    cure: str
    passes: bool = False


def _administrator(cure: str, *, passes: bool = False) -> Verdict:
    return Verdict("administrator", "environment", cure, passes)


_DOWN = _administrator(
    "start the server, or let the worker reach it; see its log for why the connection ended", passes=True
)
_BUSY = _administrator("end the sessions that hold what it needs, or retry when less goes on", passes=True)
_NO_ROOM = _administrator("give the server more room, then retry", passes=True)
_BROKEN = _administrator("ask the server's administrator: its own log says what is broken in it")
_LOGIN = _administrator("correct the role, its password or the address in the secret")
_RIGHTS = _administrator("GRANT the role what it lacks, or name a role in the secret that has it")
_SCRIPT = Verdict(
    "publisher",
    "migration",
    "correct the migration on the upgrade branch, or the rows that it stumbles over; or ask who publishes"
    " the System for a release that allows for them",
)
_SLOW = Verdict(
    "publisher", "migration", "split it into smaller steps, or SET statement_timeout in it", passes=False
)
_MASKED = Verdict(
    "maintainer",
    "project-file",
    "give the column another mask rule; a column of few values wants `keep` or `null`",
)
_NOT_AS_THOUGHT = _administrator(
    "the schema there is not what the Project's migrations make, or the server is older than they want:"
    " compare both, then retry"
)

# A whole class, wherever it happened; a code of its own goes before its class.
_ANYWHERE: dict[str, Verdict] = {
    "08": _DOWN,
    "08P01": _administrator(
        "something before the server does not speak its protocol: name the server itself in the secret"
    ),
    "0L": _RIGHTS,
    "0P": _LOGIN,
    "25006": _administrator("the server takes no writes: name its primary in the secret, not a replica"),
    "28": _LOGIN,
    "3D": _administrator("create the database, or correct its name in the secret"),
    "40": _BUSY,
    "42501": _RIGHTS,
    "53": _NO_ROOM,
    "53300": _administrator("end idle sessions, or raise max_connections", passes=True),
    "55006": _BUSY,
    "55P03": _BUSY,
    "57": _DOWN,
    "57014": _BUSY,
    "57P04": _administrator("somebody dropped the database: create it, or correct its name in the secret"),
    "58": replace(_BROKEN, passes=True),
    "72": _BUSY,
    "F0": _BROKEN,
    "XX": _BROKEN,
}
# Of data and rules where masked rows are written.
_OF_ROWS = ("21", "22", "23", "44", "P0")


def verdict_of(sqlstate: str | None, place: Place) -> Verdict:
    """The verdict for an SQLSTATE; one that nobody knows is judged by its place."""
    code = sqlstate or "XX000"
    script = place in ("migration", "way down")
    # Inside its transaction nothing else ends a script than its own time.
    if script and code == "57014":
        return _SLOW
    anywhere = _ANYWHERE.get(code) or _ANYWHERE.get(code[:2])
    if anywhere is not None:
        return anywhere
    if script:
        return _SCRIPT
    if place in ("copy", "mask") and code[:2] in _OF_ROWS:
        return _MASKED
    return _NOT_AS_THOUGHT


def finding_of(sqlstate: str | None, place: Place, subject: str, detail: str) -> Finding:
    """The same for whoever reads the Run; `detail` holds no row's value."""
    verdict = verdict_of(sqlstate, place)
    return Finding(kind=verdict.kind, subject=subject, detail=detail, cure=verdict.cure)
