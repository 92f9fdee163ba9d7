"""A Run as people read it: its stages, what it waits for, and the commands that help."""

import re
from datetime import datetime
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from cli.output import grid, line, say, stdout, table, text, took, when
from cli.policy_page import policy_line
from shared.contracts.facts import CheckResult
from shared.contracts.runs import RunView, StageRecord
from shared.contracts.values import StageName

STAGES: tuple[StageName, ...] = get_args(StageName)
HEADERS = ("stage", "status", "attempt", "took", "detail")
_FINE = frozenset({"passed", "signed-off"})
_DIGEST = re.compile(r"\b[0-9a-f]{40,64}\b")
_DIGEST_SHOWN = 12
_VALUE_MAX = 90
_DETAIL_LINES_MAX = 12
ENDED = frozenset({"succeeded", "rolled-back", "cancelled"})

_STYLES = {
    "planning": "cyan",
    "planned": "cyan",
    "running": "cyan",
    "waiting": "yellow",
    "waiting-for-retry": "yellow",
    "rolling-back": "yellow",
    "succeeded": "green",
    "failed": "bold red",
    "errored": "bold red",
    "rolled-back": "magenta",
    "cancelled": "magenta",
    "passed": "green",
    "signed-off": "green",
    "needs-sign-off": "yellow",
}


def status_text(status: str) -> Text:
    """A status in its colour."""
    return text(status, _STYLES.get(status, ""))


def latest_records(run: RunView) -> dict[str, StageRecord]:
    """Per stage its last attempt."""
    return {record.stage: record for record in run.stages}


def live_page(run: RunView, now: datetime, notice: str = "") -> RenderableType:
    """The whole Run as one block that a terminal shows again and again."""
    parts: list[RenderableType] = [_head(run), grid(HEADERS, _stage_rows(run, now)), *_foot(run)]
    if notice:
        parts.append(text(notice, "yellow"))
    return Group(*parts)


def print_run(run: RunView, now: datetime, *, whole: bool = False) -> None:
    """The Run on one screen: detail only of what is open, failed or now. `whole`: of everything."""
    say(_head(run), text(f"requested by {run.requested_by}, {when(run.requested_at)}", "dim"))
    if stdout().is_terminal:
        say(grid(HEADERS, _stage_rows(run, now)))
    else:
        table(HEADERS, _stage_rows(run, now), empty="")
    for record in latest_records(run).values():
        say(*(_checks(run, record, only_open=False) if whole else _checks_by_verdict(run, record)))
        if not whole and (record.stage != run.stage or run.status in ENDED):
            continue
        if record.begun is not None:
            say(f"  {record.stage}: begun by {record.begun.by}, {when(record.begun.at)}")
        say(
            *(f"  {record.stage}: {step.name} {step.detail} ({step.duration_ms} ms)" for step in record.steps)
        )
    for word in run.resumptions:
        say(f"resumed from {word.stage} by {word.by}, {when(word.at)}: {word.reason}")
    for sign_off in run.sign_offs:
        say(f"signed off {sign_off.subject} by {sign_off.by}, {when(sign_off.at)} {sign_off.remark}".rstrip())
    if masks := run.masks_accepted:
        say(f"masking less accepted by {masks.by}, {when(masks.at)} {masks.remark}".rstrip())
    for approval in run.approvals or ((run.approval,) if run.approval else ()):
        say(f"approved {approval.subject} by {approval.by}, {when(approval.at)} {approval.remark}".rstrip())
    if run.deployed_commit:
        say(f"deployed commit {run.deployed_commit}")
    say(*_foot(run, whole=whole))


def print_blocked(run: RunView) -> None:
    """For what and for whom the Run waits, why, and the commands that help; the proof of a roll-back."""
    if run.blocked_by is not None and (record := latest_records(run).get(run.stage)):
        say(*_open_points(run, record, _DETAIL_LINES_MAX))
    say(*_proof(run, whole=False), *_blocked(run))


def change_line(run: RunView, now: datetime, *, settled: bool = False) -> Text:
    """One plain line that says where the Run is now. `settled`: what it waits for is printed below."""
    record = latest_records(run).get(run.stage)
    parts = [now.strftime("%H:%M:%S"), run.id, run.status, run.stage]
    if record and run.status not in ENDED:
        parts += [f"attempt {record.attempt}", record.status, record.detail]
    if run.blocked_by and not settled:
        parts.append(f"waits for {run.blocked_by.who}: {run.blocked_by.what}")
    if run.status in ENDED and run.reason:
        parts.append(run.reason)
    return text("  ".join(part.replace("\n", " ") for part in parts if part))


def _head(run: RunView) -> Text:
    moves = ", ".join(
        f"{system} {run.pins_before.get(system, '(none)')} → {version}"
        for system, version in (*run.systems.items(), *((each, "(none)") for each in run.removed))
    )
    return line(text(run.id, "bold"), f"  {run.project}  {moves}  ", status_text(run.status))


def _stage_rows(run: RunView, now: datetime) -> list[tuple[Text, ...]]:
    records = latest_records(run)
    rows: list[tuple[Text, ...]] = []
    for stage in STAGES:
        record = records.get(stage)
        if record is None:
            if stage not in {"prove-backup", "roll-back"}:
                rows.append((text(stage, "dim"), text("-", "dim"), Text(), Text(), Text()))
            continue
        end = record.finished_at or now
        rows.append(
            (
                text(stage, "bold" if stage == run.stage else ""),
                status_text(record.status),
                text(record.attempt),
                text(took((end - record.started_at).total_seconds())),
                text(record.detail),
            )
        )
    return rows


def _foot(run: RunView, *, whole: bool = False) -> list[Text]:
    lines = [policy_line(run.rules, 9)] if run.rules else []
    if run.unsigned:
        lines.append(line(text("UNSIGNED   ", "bold red"), ", ".join(run.unsigned)))
    if run.address:
        lines.append(line(text("staging    ", "dim"), run.address))
    if run.staging_copy:
        copied = f"production's rows of {run.staging_copy.made_at:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(line(text("copy       ", "dim"), f"{copied}, in {run.staging_copy.database}"))
    if run.branch:
        lines.append(line(text("branch     ", "dim"), f"{run.branch} {(run.commit or '')[:12]}".rstrip()))
    if run.candidate:
        lines.append(line(text("candidate  ", "dim"), run.candidate))
    if run.reason:
        lines.append(line(text("reason     ", "dim"), run.reason))
    record = latest_records(run).get(run.stage)
    if record and run.status not in ENDED:
        lines += _open_points(run, record)
    return [*lines, *_proof(run, whole=whole), *_blocked(run)]


def _open_points(run: RunView, record: StageRecord, lines_max: int | None = None) -> list[Text]:
    """The checks and findings of a stage that a person must look at."""
    lines: list[Text] = []
    found = {finding.subject for finding in record.findings}
    # What is left to sign off does not matter yet where something failed.
    settled = _FINE | {"needs-sign-off"} if record.status == "failed" else _FINE
    for result in record.results:
        stands = verdict(run, record.stage, result)
        if stands not in settled and result.name not in found:
            detail = _at_most(result.detail, lines_max, run)
            lines.append(line("  ", status_text(stands), f"  {result.name} ({result.kind})  {detail}"))
    for finding in record.findings:
        lines.append(line(text(f"{finding.kind} ", "bold red"), text(finding.subject, "bold")))
        lines += [text(f"  {part}") for part in _at_most(finding.detail, lines_max, run).splitlines()]
    return lines


def _at_most(detail: str, lines_max: int | None, run: RunView) -> str:
    parts = detail.splitlines()
    if lines_max is None or len(parts) <= lines_max:
        return detail
    more = f"… {len(parts) - lines_max} lines more: upgradepath run show {run.id} --all"
    return "\n".join([*parts[:lines_max], more])


def _proof(run: RunView, *, whole: bool) -> list[Text]:
    lines: list[Text] = []
    for proof in run.proof:
        if proof.same and not whole:
            lines.append(line(text("as before ", "green"), f"{proof.what}: {_shortened(proof.now)}"))
            continue
        same = text("as before ", "green") if proof.same else text("DIFFERENT ", "bold red")
        lines.append(line(same, f"{proof.what}: {proof.before} / {proof.now}"))
    return lines


def _blocked(run: RunView) -> list[Text]:
    if run.blocked_by is None:
        return []
    waits = line(text(f"waits for {run.blocked_by.who}: ", "bold yellow"), run.blocked_by.what)
    cures = run.blocked_by.cures
    # A command at the end of a longer cure is not said once more.
    said = [cure for cure in cures if not any(each != cure and each.endswith(cure) for each in cures)]
    return [waits, *(text(f"  {cure}") for cure in said)]


def _shortened(value: str) -> str:
    """A proof's value on one line: digests as Git shortens them."""
    short = _DIGEST.sub(lambda found: found[0][:_DIGEST_SHOWN], value)
    return short if len(short) <= _VALUE_MAX else f"{short[:_VALUE_MAX]}…"


def verdict(run: RunView, stage: str, result: CheckResult) -> str:
    """A check's verdict as it stands now: what needed a sign-off may have it."""
    signed = f"{stage}/{result.name}" in {sign_off.subject for sign_off in run.sign_offs}
    return "signed-off" if signed and result.verdict == "needs-sign-off" else result.verdict


def _checks_by_verdict(run: RunView, record: StageRecord) -> list[Text]:
    """The names of passed checks on one line; below it the others, each with its detail."""
    fine = [
        line("  ", status_text(stands), f"  {', '.join(names)}")
        for stands, names in by_verdict(run, record).items()
        if stands in _FINE
    ]
    if record.stage == run.stage and run.status not in ENDED:
        return fine
    return [*fine, *_checks(run, record, only_open=True)]


def by_verdict(run: RunView, record: StageRecord) -> dict[str, list[str]]:
    """The names of a stage's checks, per verdict as it stands now."""
    found: dict[str, list[str]] = {}
    for result in record.results:
        found.setdefault(verdict(run, record.stage, result), []).append(result.name)
    return found


def _checks(run: RunView, record: StageRecord, *, only_open: bool) -> list[Text]:
    found = [(verdict(run, record.stage, result), result) for result in record.results]
    return [
        line("  ", status_text(stands), f"  {result.name} ({result.kind})  {result.detail}".rstrip())
        for stands, result in found
        if not (only_open and stands in _FINE)
    ]
