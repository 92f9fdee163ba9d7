"""From a command, a refusal or a request to a note for the audit log.

A note never has a token, a secret or a value of a row: its texts are cut, and redacted as the logs are.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel

from shared.contracts.audit import AuditDetail, AuditNote, AuditRefusal, Verdict
from shared.contracts.envelope import Received
from shared.contracts.refusals import Refusal
from shared.contracts.values import Actor, Command, canonical_json
from shared.telemetry.redaction import redacted

_TEXT_MAX = 500
_DETAIL_MAX = 300
_DETAILS_MAX = 12
_NAME_MAX = 200
_REFUSALS_MAX = 3
_REDACTED_MAX = 1 << 16
"""Characters that are looked at: what is kept is far less, and is redacted as a whole."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DECIDED_ON = ("candidate", "plan", "package")
"""In this order a command, or else its answer, says on which digest it decides."""
_SAID_ELSEWHERE = frozenset({"actor", "project", "run_id", *_DECIDED_ON})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def written(note: AuditNote) -> str:
    """The note as it is stored: canonical JSON."""
    return canonical_json(note.model_dump(mode="json"))


def on_command(
    received: Received,
    now: datetime,
    *,
    answer: BaseModel | None = None,
    refusals: Iterable[Refusal] = (),
    policy: str | None = None,
    actor: Actor | None = None,
    origin: str | None = None,
) -> AuditNote:
    """The note on a command that was handled, or refused with `refusals`.

    `actor` is the one whom it names unless another is given; `origin` is where it came from unless it says.
    """
    command = received.message
    assert isinstance(command, Command)
    reasons = tuple(refusals)
    verdict: Verdict = "refused" if reasons else "accepted"
    who = command.actor if actor is None else actor
    return AuditNote(
        at=now,
        who=cut(who.id, _NAME_MAX),
        role=who.role,
        origin=cut(origin or received.place, 300),
        what=type(command).__name__,
        subject=cut(command.key(), 300),
        project=project_of(command),
        run=_run_of(command, answer),
        message=cut(received.envelope.id, 1024),
        correlation=_optional(received.envelope.correlation_id, 1024),
        digest=_digest_of(command, answer),
        policy=policy,
        details=_details(command),
        verdict=verdict,
        refusals=_reasons(reasons),
    )


def on_try(
    now: datetime,
    actor: Actor | None,
    origin: str,
    what: str,
    subject: str,
    refusals: Iterable[Refusal] = (),
    *,
    verdict: Verdict = "refused",
    details: Mapping[str, str] | None = None,
    project: str | None = None,
) -> AuditNote:
    """The note on what was no command that a handler saw: a request, a record, a step of a service."""
    return AuditNote(
        at=now,
        who=None if actor is None else cut(actor.id, _NAME_MAX),
        role=None if actor is None else actor.role,
        origin=cut(origin, 300),
        what=cut(what, _NAME_MAX),
        subject=cut(subject, 300),
        project=project,
        verdict=verdict,
        details=tuple(_detail(name, text) for name, text in (details or {}).items()),
        refusals=_reasons(refusals),
    )


def project_of(command: Command) -> str | None:
    """The Project that the command is about; none where it is about none."""
    project = getattr(command, "project", None)
    named = getattr(project, "id", project)
    return named if isinstance(named, str) else None


def cut(text: str, most: int) -> str:
    """The text as it may be kept for ever: redacted, printable, of at most `most` characters."""
    clean = _UNPRINTABLE.sub(" ", redacted(text[:_REDACTED_MAX]))
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _optional(text: str | None, most: int) -> str | None:
    return None if text is None else cut(text, most)


def _run_of(command: Command, answer: BaseModel | None) -> str | None:
    named = getattr(command, "run_id", None) or getattr(answer, "id", None)
    return named if isinstance(named, str) else None


def _digest_of(command: Command, answer: BaseModel | None) -> str | None:
    for said in (command, answer):
        for name in _DECIDED_ON:
            value = getattr(said, name, None)
            if isinstance(value, str) and _DIGEST.fullmatch(value):
                return value
    project = getattr(command, "project", None)
    # A registration is named by what it says.
    return project.content_digest() if project is not None and not isinstance(project, str) else None


def _details(command: Command) -> tuple[AuditDetail, ...]:
    """Its other fields, cut."""
    said = command.model_dump(mode="json", exclude=set(_SAID_ELSEWHERE)).items()
    texts = [
        (name, value if isinstance(value, str) else canonical_json(value))
        for name, value in said
        if value is not None
    ]
    return tuple(_detail(name, text) for name, text in texts[:_DETAILS_MAX])


def _detail(name: str, text: str) -> AuditDetail:
    return AuditDetail(name=cut(name, 100), value=cut(text, _DETAIL_MAX))


def _reasons(refusals: Iterable[Refusal]) -> tuple[AuditRefusal, ...]:
    return tuple(
        AuditRefusal(
            kind=each.kind,
            reason=cut(each.reason, _TEXT_MAX),
            field=_optional(each.field, _NAME_MAX),
        )
        for each in tuple(refusals)[:_REFUSALS_MAX]
    )
