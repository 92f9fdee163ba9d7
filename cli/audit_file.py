"""An exported audit log as a file: written from what the services answer, and heads read from one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from cli.client import Server
from shared.contracts.audit import NO_ENTRY, AuditHead
from shared.errors import conflict, invalid
from shared.private_files import FILE_MODE

_PAGE_ROWS = 1000


def write_export(
    server: Server, file: Path, services: Sequence[str], first: int
) -> dict[str, tuple[int, AuditHead]]:
    """Write the file whole or not at all; how many entries of each log it has, and its head."""
    from shared.audit.exported import ExportedLog, lines_of

    spools: dict[str, tuple[ExportedLog, IO[str]]] = {}
    counts: dict[str, tuple[int, AuditHead]] = {}
    with ExitStack() as stack:
        for service in services:
            # The header comes first and is known last; a log may be larger than memory.
            spool = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            previous = NO_ENTRY if first == 1 else _before(server, service, first)
            count, head = _spool(server, service, first, spool)
            spool.seek(0)
            spools[service] = (ExportedLog(first=first, previous=previous, head=head), spool)
            counts[service] = (count, head)
        logs = {name: (log, map(json.loads, spool)) for name, (log, spool) in spools.items()}
        part = file.with_name(f"{file.name}.part")
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(opened, "w", encoding="utf-8") as written:
            written.writelines(f"{line}\n" for line in lines_of(logs))
        part.replace(file)
    return counts


def read_heads(file: Path) -> Iterator[AuditHead]:
    """The heads of a file with one a line; or with records of the audit topic, as `topics dump` writes them.

    Raises `Reject`.
    """
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                document: Any = json.loads(line)
                yield AuditHead.model_validate(document.get("body", {}).get("head") or document)
            except (ValueError, AttributeError, ValidationError) as error:
                raise invalid(
                    f"line {number} of {file} is not the head of an audit log",
                    field="--heads",
                    cure="take what `upgradepath audit heads` prints",
                ) from error


def _spool(server: Server, service: str, first: int, spool: IO[str]) -> tuple[int, AuditHead]:
    """Every entry from `first` on, a line each, and the head that stood behind the last of them."""
    after, count = first - 1, 0
    while True:
        answer = server.read(service, "audit", "export", after=after, limit=_PAGE_ROWS)
        head = AuditHead.model_validate(answer["head"])
        for row in answer["entries"]:
            spool.write(json.dumps(row) + "\n")
            after, count = row["entry"]["seq"], count + 1
        if after >= head.seq:
            return count, head
        if not answer["entries"]:
            raise conflict(
                f"the {service} does not give entry {after + 1}, and its log goes to {head.seq}",
                cure="read the runbook: audit-broken",
            )


def _before(server: Server, service: str, first: int) -> str:
    answer = server.read(service, "audit", "export", after=first - 2, limit=1)
    rows = answer["entries"]
    if not rows or rows[0]["entry"]["seq"] != first - 1:
        raise invalid(
            f"the log of {service} ends before entry {first}: at {answer['head']['seq']}",
            field="--from",
            value=first,
            cure="name a service with --service, or a smaller number",
        )
    digest: str = rows[0]["hash"]
    return digest
