"""No commit and no call to the outside is without its crash points; each is listed or says why not.

Read from the code itself, so that who adds one adds its points: what is in a `with around(…)`, or stands
between `reached(…, "before")` and `reached(…, "after")`, has them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from shared.contracts.topics import SERVICES
from tests.faults.crash import listed

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("services", "shared")
NOT_OF_A_SERVICE = (
    "shared/replay/",
    "/rebuild.py",
    "migrations.py",
    "shared/messaging/topic_",
    "/migrations/",
)
"""Rooms of commands that an operator types, and of the schema's history."""
_BUT_OF_ONE = "services/executor/clients/migrations.py"

CONTENT = {"put_async", "get_async", "head_async", "delete_async", "list"}
PROGRAMS = {"run", "run_program", "run_trusted", "create_subprocess_exec"}
WRITES = ("insert ", "update ", "delete ", "create ", "drop ", "alter ", "truncate ")

_IN_A_MIGRATION = "`python -m tests.faults.migration_kills` kills anywhere in a migration"
_IN_MIGRATE = "`python -m tests.faults.executor_kills` kills anywhere in it"
_IN_CHECKS = "the stage has them around all of its checks"
_IN_SCRATCH = "in a scratch database, which has its own"
_LOOKS = "it looks and changes nothing, and what follows has its own"
_IN_ONE = "inside a transaction that has its own"

WITHOUT = {
    "services/executor/clients/backup.py:_run": "`dump` and `restore` have them; the others only read a file",
    "services/executor/clients/index_builds.py:drop_invalid": _IN_A_MIGRATION,
    "services/executor/clients/masking.py:_empty": "the effect of which it is a part has them",
    "services/executor/clients/migration_table.py:_pass_fence": _IN_A_MIGRATION,
    "services/executor/clients/migration_table.py:create": _IN_A_MIGRATION,
    "services/executor/clients/migration_table.py:fail": _IN_A_MIGRATION,
    "services/executor/clients/migration_table.py:forget": _IN_A_MIGRATION,
    "services/executor/clients/migration_table.py:keep_log": _IN_A_MIGRATION,
    "services/executor/clients/migration_table.py:roll_back": _IN_A_MIGRATION,
    "services/executor/clients/rehearsal.py:_go_up": _IN_SCRATCH,
    "services/executor/clients/restore_copy.py:_make_extension": _IN_SCRATCH,
    "services/executor/clients/set_aside.py:_set_aside": _IN_ONE,
    "services/executor/clients/squawk.py:_run": "a program that reads a script and answers",
    "services/executor/clients/suspended_rules.py:_without_references": "a part of `suspend`",
    "services/executor/clients/suspended_rules.py:suspend": "the effect of which it is a part has them",
    "services/executor/clients/written_since.py:keep": "the effect of which it is a part has them",
    "services/executor/stages/return_trip.py:_note": _IN_MIGRATE,
    "services/executor/stages/return_trip.py:start_of": _IN_SCRATCH,
    "services/executor/stages/same_schema.py:_rewritten": "a session's own view, and all of it is taken back",
    "services/notifier/store/fanout.py:keep_fanout": _IN_ONE,
    "services/notifier/store/fanout.py:tell_alike": _IN_ONE,
    "services/validator/checks/command.py:run": _IN_CHECKS,
    "services/validator/checks/log.py:run": _IN_CHECKS,
    "shared/audit/sealer.py:_seal_some": _IN_ONE,
    "shared/clients/content.py:_mend": "`put`, of which it is a part, has them",
    "shared/clients/content.py:has": _LOOKS,
    "shared/clients/databases.py:make_database": "whoever makes one has them",
    "shared/clients/git.py:_at_remote": "fetch and push have them; the others only look",
    "shared/clients/git.py:refs": _LOOKS,
    "shared/clients/git_command.py:git": "on a clone that may vanish; what reaches the remote has them",
    "shared/jobs/store.py:cancel": _IN_ONE,
    "shared/jobs/store.py:cancel_older": _IN_ONE,
    "shared/jobs/store.py:let_go": _IN_ONE,
    "shared/isolation/child.py:run_child": "whoever has a program run has them",
    "shared/isolation/choosing.py:probe": _LOOKS,
    "shared/messaging/dead_letters.py:first_time": _IN_ONE,
    "shared/messaging/vouchers.py:vouch": _IN_ONE,
    "shared/prisma/postgres.py:_sweep": _IN_SCRATCH,
}
"""Seams that have none of their own, and why."""

_TERM = (
    "no backup's term ends while the sweep lasts; tests/executor/test_backup_sweeper.py stops between them"
)
NOT_PASSED = {
    "restore": "the sweep's people consent to no loss, so nobody restores over what was written",
    "delete-backup": _TERM,
    "backup-deleted": _TERM,
}
"""Points that no round of the sweep comes by, and why."""

_COMMITS = {"_consumer", "_session", "transaction", "connection"}


@dataclass(frozen=True)
class Seam:
    """A call that leaves the process or makes something durable."""

    file: str
    function: str
    line: int
    has_points: bool

    @property
    def place(self) -> str:
        return f"{self.file}:{self.function}"


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(), file)


def files() -> list[str]:
    every = (path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return sorted(
        file for file in every if file == _BUT_OF_ONE or not any(part in file for part in NOT_OF_A_SERVICE)
    )


def seams(file: str) -> Iterator[Seam]:
    texts = _texts(file)
    for function in ast.walk(tree(file)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        moments = {
            argument.value
            for call in _calls(function, "reached")
            for argument in call.args
            if isinstance(argument, ast.Constant)
        }
        for call, guarded in _guarded(function):
            if _leaves(call, texts):
                has = guarded or {"before", "after"} <= moments
                yield Seam(file, function.name, call.lineno, has)


def _texts(file: str) -> dict[str, str]:
    """The constants of a file that are a text, and those of the statements that it imports."""
    found: dict[str, str] = {}
    for node in tree(file).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = _beginning(node.value)
        if isinstance(node, ast.ImportFrom) and any(name.name == "statements" for name in node.names):
            module = (node.module or "").replace(".", "/")
            found |= {f"statements.{name}": text for name, text in _texts(f"{module}/statements.py").items()}
    return found


def _beginning(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=str(text)):
            return text.lower()
        case ast.JoinedStr(values=[first, *_]) | ast.BinOp(left=first):
            return _beginning(first)
        case _:
            return ""


def _calls(node: ast.AST, name: str) -> list[ast.Call]:
    return [
        one
        for one in ast.walk(node)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == name
    ]


def _guarded(node: ast.AST, guarded: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Every call of a function, but not of one within it, and whether it is in an `around`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.AsyncWith):
            inside = guarded or any(_calls(item.context_expr, "around") for item in child.items)
            for item in child.items:
                yield from _guarded(item, guarded)
            for statement in child.body:
                yield from _guarded(statement, inside)
                if isinstance(statement, ast.Call):
                    yield statement, inside
            continue
        if isinstance(child, ast.Call):
            yield child, guarded
        yield from _guarded(child, guarded)


def _leaves(call: ast.Call, texts: dict[str, str]) -> bool:
    """Whether this call leaves the process, or is a commit."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="obstore"), attr=name):
            return name in CONTENT
        case ast.Attribute(attr="_at_remote"):
            return True
        case ast.Name(id="git"):
            return any(keyword.arg == "deadline_s" for keyword in call.keywords)
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="asyncio"), attr=name) if name in PROGRAMS:
            return True
        case ast.Attribute(attr="commit", value=ast.Attribute(attr=whose) | ast.Name(id=whose)):
            return whose in _COMMITS
        case ast.Attribute(attr="publish"):
            return True
        case ast.Attribute(attr="fetch" | "execute" | "fetchval") if call.args:
            return _text_of(call.args[0], texts).lstrip().startswith(WRITES)
        case _:
            return False


def _text_of(argument: ast.expr, texts: dict[str, str]) -> str:
    match argument:
        case ast.Name(id=name):
            return texts.get(name, "")
        case ast.Attribute(value=ast.Name(id="statements"), attr=name):
            return texts.get(f"statements.{name}", "")
        case _:
            return _beginning(argument)


def test_each_seam_has_its_points_or_says_why_not() -> None:
    bare = {seam.place for file in files() for seam in seams(file) if not seam.has_points}
    assert bare == set(WITHOUT)


def test_seams_are_found() -> None:
    """That the test above finds nothing must not be because it sees nothing."""
    with_points = {seam.place for file in files() for seam in seams(file) if seam.has_points}
    assert with_points >= {
        "services/planner/store/transaction.py:due",
        "shared/clients/content.py:put",
        "shared/clients/environments.py:_run",
        "shared/clients/git.py:push",
        "shared/jobs/store.py:lease",
        "shared/messaging/offsets.py:commit",
        "shared/messaging/relay.py:_send",
        "shared/messaging/relay.py:_delete",
        "shared/storage/database.py:commit",
    }


def test_each_point_is_listed_or_says_why_not() -> None:
    written = {
        argument.value
        for file in files()
        for call in _calls(tree(file), "around")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    passed = {part for name in listed() for part in name.split(".")}
    assert written - passed == set(NOT_PASSED)


@pytest.mark.parametrize("service", SERVICES)
def test_both_ways_of_sending_are_listed(service: str) -> None:
    """What is sent from memory, and what somebody left in the outbox; and that it is deleted."""
    for seam in ("produce", "left.produce", "outbox-delete", "outbox-read", "offsets", "commit"):
        for moment in ("before", "after"):
            assert f"{service}.{seam}.{moment}" in listed()
