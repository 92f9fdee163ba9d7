"""Prisma's own parser: what a schema says, whether it is one, and how it is written."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.prisma.archives import PARSER
from shared.prisma.wasm import Instance, Panicked, load, on_thread

Files = Mapping[str, str]
"""Schema files: path to text."""

_PROBLEMS_MAX = 200
_MESSAGE_CHARACTERS_MAX = 2000
_DATASOURCE = re.compile(r"^\s*datasource\s+\w+\s*\{")
_URL = re.compile(r"^\s*(url|directUrl|shadowDatabaseUrl)\s*=")


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place; lines count from 1. `against` is the other place of a dispute."""

    file: str
    line: int
    message: str
    severity: Literal["error", "warning"] = "error"
    against: tuple[str, int] | None = None

    def line_in(self, file: str) -> int | None:
        """The line of that file that has a part in it."""
        places = dict([self.against] if self.against else [])
        return (places | {self.file: self.line}).get(file)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class InvalidSchema(ValueError):
    """The files are no valid schema; every problem is told."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[type["InvalidSchema"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class PrismaSchema:
    """The official parser in this process. Each call raises `Reject` when the parser cannot be had."""

    def __init__(self) -> None:
        self._instance: Instance | None = None

    async def format(self, files: Files) -> dict[str, str]:
        """Every file in the canonical layout, as `prisma format` writes it."""
        options = {"tabSize": 2, "insertSpaces": True}
        parameters = {"textDocument": {"uri": "file:///schema.prisma"}, "options": options}
        found = await on_thread(self._call, "format", list(files.items()), parameters)
        return dict(found)

    async def lint(self, files: Files) -> tuple[Problem, ...]:
        """Everything that is wrong or worth a warning, in the order of the files."""
        return await on_thread(self._linted, dict(_pairs(files)))

    def _linted(self, given: Files) -> tuple[Problem, ...]:
        found = self._call("lint", list(given.items()))
        # There may be one for each character, and nobody reads them all: errors first.
        found.sort(key=lambda each: (bool(each["is_warning"]), each["file_name"], each["start"]))
        order = {path: number for number, path in enumerate(given)}
        problems = [
            Problem(
                file=each["file_name"],
                line=_line(given[each["file_name"]], each["start"]),
                message=_sentence(each["text"]),
                severity="warning" if each["is_warning"] else "error",
            )
            for each in found[:_PROBLEMS_MAX]
        ]
        return tuple(sorted(set(problems), key=lambda each: (order[each.file], each.line, each.message)))

    async def validate(self, files: Files) -> None:
        """Raises `InvalidSchema` with every error, file and line."""
        problems = tuple(each for each in await self.lint(files) if each.severity == "error")
        if problems:
            raise InvalidSchema(problems)

    async def get_config(self, files: Files) -> dict[str, Any]:
        """The generators and datasources. Raises `InvalidSchema`."""
        options = {"datasourceOverrides": {}, "env": {}, "ignoreEnvVarErrors": True}
        found = await self._asked("get_config", files, {"prismaSchema": _pairs(files), **options})
        config: dict[str, Any] = json.loads(found)["config"]
        return config

    async def get_dmmf(self, files: Files) -> dict[str, Any]:
        """Prisma's data model (DMMF): `datamodel`, `schema`, `mappings`. Raises `InvalidSchema`."""
        found = await self._asked("get_dmmf", files, {"prismaSchema": _pairs(files), "noColor": True})
        dmmf: dict[str, Any] = json.loads(found)
        return dmmf

    async def merge_schemas(self, files: Files) -> str:
        """All files as one canonical text. Raises `InvalidSchema`, also for a name defined twice."""
        return await self._asked("merge_schemas", files, {"schema": _pairs(files)})

    async def _asked(self, function: str, files: Files, parameters: Mapping[str, Any]) -> str:
        try:
            text: str = await on_thread(self._call_text, function, parameters)
        except _Refused:
            # Its own words are for a terminal; the linter's have places.
            await self.validate(files)
            raise
        return text

    def _call(self, function: str, *arguments: Any) -> Any:
        return json.loads(self._call_text(function, *arguments))

    def _call_text(self, function: str, *arguments: Any) -> str:
        if self._instance is None or self._instance.broken:
            if self._instance is not None:
                self._instance.close()
            self._instance = Instance(load(PARSER), _imports)
        instance = self._instance
        given = [part for each in arguments for part in instance.write(json.dumps(each).encode())]
        at, length, *failure = instance.call(function, *given)
        if failure and failure[1]:
            raise _Refused(str(instance.take(failure[0])))
        return instance.take_text(at, length)


class _Refused(ValueError):
    """The parser answered with an error."""


def _imports(instance: Instance) -> dict[str, Callable[..., Any]]:
    def panic(at: int, length: int) -> None:
        # Said before the trap, which tells only where.
        raise Panicked(instance.text(at, length))

    return {
        "__wbg_set_message_f22ac4a6869ee695": panic,
        "__wbg_Error_e83987f665cf5504": instance.text,
        "__wbg___wbindgen_throw_b855445ff6a94295": panic,
    }


def _pairs(files: Files) -> list[tuple[str, str]]:
    return [(path, without_urls(text)) for path, text in files.items()]


def with_datasource(files: Files) -> dict[str, str]:
    """The files, with PostgreSQL as their datasource where they name none: a fragment leaves it to others."""
    if any(_DATASOURCE.match(line) for text in files.values() for line in text.split("\n")):
        return dict(files)
    return {**files, "upgradepath-datasource.prisma": 'datasource db {\n  provider = "postgresql"\n}\n'}


def without_urls(text: str) -> str:
    """A datasource without its addresses, which this Prisma refuses and older ones demand; lines stay."""
    lines = text.split("\n")
    inside = False
    for number, line in enumerate(lines):
        inside = (inside or _DATASOURCE.match(line) is not None) and line.strip() != "}"
        if inside and _URL.match(line):
            lines[number] = ""
    return "\n".join(lines)


def _line(text: str, offset: int) -> int:
    """The line, from 1, of an offset in bytes."""
    return text.encode()[:offset].count(b"\n") + 1


def _sentence(text: str) -> str:
    said = " ".join(text.removeprefix("Error validating: ").split())
    return said if len(said) <= _MESSAGE_CHARACTERS_MAX else said[:_MESSAGE_CHARACTERS_MAX] + " …"
