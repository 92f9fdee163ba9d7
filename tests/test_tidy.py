"""House rules, on every file that is tracked: what a reviewer would say again and again is said here once."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared.contracts.topics import SERVICES

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOOPBACK = "127.0.0.1"
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 55
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "misc", "service", "manager"}
# Written so that this file does not find itself.
LEFT_FOR_LATER = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X]|NotImplementedErro[r])\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tracked() -> tuple[str, ...]:
    """Every file that Git knows and that is there, by its path from the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8", errors="replace")


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(text(name), name)


def python(*, tests: bool = True, code: bool = True, examples: bool = False) -> list[str]:
    """The Python files of these parts."""
    wanted = {"tests": tests, "examples": examples}
    return [name for name in tracked() if name.endswith(".py") and wanted.get(name.partition("/")[0], code)]


def nodes(*names: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of these files, with where it stands."""
    for name in names:
        for node in ast.walk(tree(name)):
            yield f"{name}:{getattr(node, 'lineno', 0)}", node


def test_files_fit_into_a_head() -> None:
    lines = {name: len(text(name).splitlines()) for name in python(tests=False)}
    assert {name: count for name, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_functions_fit_onto_a_page() -> None:
    functions = [
        (where, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for where, node in nodes(*python(tests=False))
        if isinstance(node, Function)
    ]
    assert [found for found in functions if found[2] > FUNCTION_LINES_MAX] == []


def test_names_say_what_is_in_a_file() -> None:
    assert [name for name in python(examples=True) if Path(name).stem in NAMES_THAT_SAY_NOTHING] == []


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{name}:{number}"
        for name in tracked()
        if name != "uv.lock"
        for number, line in enumerate(text(name).splitlines(), 1)
        if LEFT_FOR_LATER.search(line)
    ]
    assert found == []


def test_no_error_vanishes() -> None:
    """To catch everything and say nothing hides what nobody thought of; one named error may be expected."""
    swallowed = [
        where for where, node in nodes(*python()) if isinstance(node, ast.ExceptHandler) and _swallows(node)
    ]
    suppressed = [
        where
        for where, call, function in calls(*python())
        if function.endswith("suppress") and any(map(_is_everything, call.args))
    ]
    assert swallowed + suppressed == []


def _swallows(handler: ast.ExceptHandler) -> bool:
    silent = all(isinstance(statement, ast.Pass | ast.Continue) for statement in handler.body)
    return silent and (handler.type is None or _is_everything(handler.type))


def _is_everything(error: ast.expr) -> bool:
    return ast.unparse(error) in {"Exception", "BaseException"}


def calls(*names: str) -> Iterator[tuple[str, ast.Call, str]]:
    """Every call of these files: where, the call, and what is called as it is written."""
    for where, node in nodes(*names):
        if isinstance(node, ast.Call):
            yield where, node, ast.unparse(node.func)


def test_no_test_waits_by_the_clock() -> None:
    """A test waits for a condition: a sleep stands in the loop that asks for it. `sleep(0)` is a turn."""
    found = []
    for name in python(code=False):
        polling = {id(inner) for loop in ast.walk(tree(name)) if _asks(loop) for inner in ast.walk(loop)}
        for where, call, function in calls(name):
            line = text(name).splitlines()[call.lineno - 1]
            # ruff asks for these words where blocking the loop is what is tested.
            the_trap_itself = "noqa: ASYNC251" in line
            sleeps = function in {"time.sleep", "asyncio.sleep", "sleep"} and ast.unparse(call.args[0]) != "0"
            if sleeps and id(call) not in polling and not the_trap_itself:
                found.append(where)
    assert found == []


def _asks(loop: ast.AST) -> bool:
    """`while condition`, or a counted loop that is left as soon as the condition holds."""
    leaves = any(isinstance(node, ast.Return | ast.Break) for node in ast.walk(loop))
    return isinstance(loop, ast.While) or (isinstance(loop, ast.For) and leaves)


def test_what_is_skipped_says_why() -> None:
    called = {id(call.func) for _, call, _ in calls(*python(code=False))}
    bare = [
        where
        for where, node in nodes(*python(code=False))
        if isinstance(node, ast.Attribute)
        and id(node) not in called
        and ast.unparse(node) in {"pytest.mark.skip", "pytest.mark.xfail"}
    ]
    silent = [
        where
        for where, call, function in calls(*python(code=False))
        if (function == "pytest.skip" and not (call.args or call.keywords))
        or (
            function in {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}
            and "reason" not in {keyword.arg for keyword in call.keywords}
        )
    ]
    assert bare + silent == []


def test_modules_are_imported_by_their_whole_names() -> None:
    found = [where for where, node in nodes(*python()) if isinstance(node, ast.ImportFrom) and node.level]
    assert found == []


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_the_same_rooms(service: str) -> None:
    folder = f"services/{service}"
    files = {name.removeprefix(f"{folder}/") for name in tracked() if name.startswith(f"{folder}/")}
    assert {"app.py", "api.py", "handlers.py", "settings.py", "migrations/env.py"} <= files
    assert any(name.startswith("migrations/versions/0001_") for name in files)
    workers = "shared.jobs.store" in text(f"{folder}/app.py")
    assert workers or {"store.py", "store/__init__.py"} & files, "its own tables, or those of the jobs"
    said = ast.get_docstring(tree(f"{folder}/__init__.py")) or ""
    assert re.findall(r"^(reads|writes|owns) +\S", said, re.MULTILINE) == ["reads", "writes", "owns"]


def test_every_dependency_has_a_reason() -> None:
    requirements = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["dev"]]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in requirements}
    reasons = text("docs/architecture.md").partition("## Dependencies, and why")[2]
    rows = [line for line in reasons.splitlines() if line.startswith("|")]
    written = set(re.findall(r"[a-z0-9-]+", " ".join(row.split("|")[2] for row in rows).lower()))
    assert names - written == set()


def test_everything_listens_on_this_machine_only() -> None:
    """What binds takes the loopback, or a `host` that is the loopback unless somebody says otherwise."""
    every = [name for name in python(examples=True) if ROOT / name != Path(__file__)]
    found = []
    for where, node in nodes(*every):
        match node:
            case ast.Constant(value=str(value)) if re.search(r"\b0\.0\.0\.0\b|\[::\]", value):
                found.append(where)
            case ast.Assign(targets=[ast.Name(id="HOST")], value=ast.Constant(value=host)):
                found += [] if host == LOOPBACK else [where]
            case ast.keyword(arg="host", value=ast.Constant(value=host)):
                found += [] if host == LOOPBACK else [where]
            case ast.FunctionDef(args=arguments) | ast.AsyncFunctionDef(args=arguments):
                found += [where for host in _default_hosts(arguments) if host != LOOPBACK]
            case _:
                continue
    found += [
        where
        for where, call, function in calls(*every)
        if function.rpartition(".")[2] in {"bind", "create_server", "start_server", "HTTPServer"}
        and not _is_loopback(call)
    ]
    assert found == []


def _default_hosts(arguments: ast.arguments) -> Iterator[object]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*zip(reversed(positional), reversed(arguments.defaults), strict=False)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, default in (*defaults, *keywords):
        if argument.arg == "host" and isinstance(default, ast.Constant):
            yield default.value


def _is_loopback(call: ast.Call) -> bool:
    if any(keyword.arg == "sock" for keyword in call.keywords):
        # A socket that is bound already, and its `bind` is looked at.
        return True
    match call.args:
        case [ast.Tuple(elts=[host, *_]), *_] | [_, host, _]:
            return ast.unparse(host) in {repr(LOOPBACK), "host", "HOST"}
        case _:
            # The path of a Unix socket.
            return ast.unparse(call.func).endswith(".bind")


def test_the_tools_are_strict_and_see_everything() -> None:
    tool = PYPROJECT["tool"]
    assert tool["ruff"]["line-length"] == 110
    assert tool["mypy"]["strict"] is True
    assert "--strict-markers" in tool["pytest"]["ini_options"]["addopts"]
    check = text("Makefile").partition("\ncheck:")[2].partition("\n\n")[0]
    for command in ("ruff format --check .", "ruff check .", "lint-imports", "upgradepath contracts check"):
        assert command in check
    folders = {name.partition("/")[0] for name in python() if "/" in name}
    typed = re.search(r"mypy (.*)", check)
    assert typed is not None
    assert set(typed[1].split()) == folders
    assert {"services", "shared", "cli", "local"} == set(tool["importlinter"]["root_packages"])


def test_decisions_begin_alike() -> None:
    """`# NNNN. Title`, with the file's own number, then `Status: …, date`; no number twice."""
    records = [name for name in tracked() if name.startswith("docs/adr/")]
    numbers = [Path(name).name[:4] for name in records]
    assert sorted(set(numbers)) == sorted(numbers)
    begins = re.compile(
        r"# (\d{4})\. \S[^\n]*\n\nStatus: (?:accepted|superseded by \d{4}), \d{4}-\d\d-\d\d\n\n\S"
    )
    found = {name: begins.match(text(name)) for name in records}
    assert [name for name, match in found.items() if match is None or match[1] != Path(name).name[:4]] == []
