"""The two files at the root of a Project's repository that are ours: its declaration and its pins."""

import re

from semver import Version as Semantic

from shared.bounds import OutOfBounds, bounded_size
from shared.contracts.projects import Environment, LogCheck, ProjectDefinition
from shared.contracts.refusals import Refusal
from shared.contracts.version_maps import Pins
from shared.declarations import read_toml
from shared.errors import Reject
from shared.pins_text import pins_of, with_pins

PROJECT_FILE = "upgradepath.toml"
VERSION_MAP_FILE = "version-map.yaml"

_PATTERN_CHARACTERS_MAX = 1000
_PIN = re.compile(r"(?P<name>[a-z][a-z0-9-]{0,62}): (?P<version>\S+)")
_SECRET = re.compile(r"secret:[a-z][a-z0-9-]*")
_BRANCH = re.compile(r"(?!-)(?!.*(\.\.|//|@\{|\.lock(/|$)|[/.]$))[A-Za-z0-9._@/-]+")


def read_project_file(text: str) -> ProjectDefinition:
    """Read `upgradepath.toml`; raises `Reject` with every mistake, its field and its cure."""
    definition = read_toml(text, ProjectDefinition, file=PROJECT_FILE)
    if refusals := faults(definition):
        raise Reject(*refusals)
    return definition


def faults(definition: ProjectDefinition) -> list[Refusal]:
    """Every mistake that the types of a declaration let through."""
    environments = definition.environments
    refusals = [
        *_patterns(definition),
        *_variables("production", environments.production),
        *_variables("staging", environments.staging),
        *_paths(definition),
        *_prisma(definition),
    ]
    if not _BRANCH.fullmatch(environments.production.branch):
        refusals.append(
            _refusal(
                "this is no name that Git gives a branch",
                "environments.production.branch",
                environments.production.branch,
                "write the branch's name as `git branch` shows it",
            )
        )
    return refusals


def read_version_map(text: str) -> Pins:
    """Read `version-map.yaml`, in its order; raises `Reject` with every line that is no `name: version`."""
    # Editors on Windows begin files so.
    text = text.removeprefix("\ufeff")
    try:
        bounded_size(text)
    except OutOfBounds as error:
        raise Reject(_refusal(str(error), VERSION_MAP_FILE, "", "keep a line per System")) from None
    pins: Pins = {}
    refusals: list[Refusal] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        matched = _PIN.fullmatch(line)
        field = f"{VERSION_MAP_FILE} line {number}"
        if matched is None or not Semantic.is_valid(matched["version"]):
            cure = "write `name: version`, as in `auth-system: 1.3.0`"
            refusals.append(_refusal("this is no pin", field, line, cure))
        elif matched["name"] in pins:
            refusals.append(_refusal("this System is pinned twice", field, line, "keep one of the lines"))
        else:
            pins[matched["name"]] = matched["version"]
    if refusals:
        written = pins_of(text)
        if written is None:
            raise Reject(*refusals)
        return written
    return pins


def write_version_map(pins: Pins, before: bytes | None = None) -> str:
    """The text of `version-map.yaml`: of the file `before` with other versions, or in the order of `pins`."""
    if before is not None:
        try:
            kept = with_pins(before.decode(), pins)
        except UnicodeDecodeError:
            kept = None
        if kept is not None:
            return kept
    return "".join(f"{name}: {version}\n" for name, version in pins.items())


def _patterns(definition: ProjectDefinition) -> list[Refusal]:
    found: list[Refusal] = []
    groups = {"validate": definition.checks.validate_, "check-workflows": definition.checks.check_workflows}
    for stage, checks in groups.items():
        for name, check in checks.items():
            if not isinstance(check, LogCheck):
                continue
            for number, pattern in enumerate(check.absent):
                if (fault := _pattern_fault(pattern)) is not None:
                    field = f"checks.{stage}.{name}.absent.{number}"
                    cure = "write a Python regular expression"
                    found.append(_refusal(f"no regular expression: {fault}", field, pattern, cure))
    return found


def _pattern_fault(pattern: str) -> str | None:
    if len(pattern) > _PATTERN_CHARACTERS_MAX:
        return f"it has more than {_PATTERN_CHARACTERS_MAX} characters"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return None


def _variables(name: str, environment: Environment) -> list[Refusal]:
    return [
        _refusal(
            "this is no name of a secret",
            f"environments.{name}.variables.{variable}",
            value,
            "write secret:<name>, in small letters, digits and hyphens",
        )
        for variable, value in environment.variables.items()
        if value.startswith("secret:") and not _SECRET.fullmatch(value)
    ]


def _paths(definition: ProjectDefinition) -> list[Refusal]:
    paths = {"workflows.rules": definition.workflows.rules, "staging.seed": definition.staging.seed}
    return [
        _refusal(
            "this path leaves the repository",
            field,
            path,
            "write a path from the repository's root, without ..",
        )
        for field, path in paths.items()
        if path is not None and (path.startswith("/") or ".." in path.split("/"))
    ]


def _prisma(definition: ProjectDefinition) -> list[Refusal]:
    prisma = definition.prisma
    folders = {"prisma.schemas": prisma.schemas, "prisma.migrations": prisma.migrations}
    refusals = [
        _refusal("Systems are installed there", field, path, "keep Prisma's files in a folder of their own")
        for field, path in folders.items()
        if path.split("/")[0] == "systems"
    ]
    if f"{prisma.schemas}/".startswith(f"{prisma.migrations}/"):
        cure = "name the folder of the schema files, which holds the migrations or lies beside them"
        refusals.append(_refusal("these are the migrations", "prisma.schemas", prisma.schemas, cure))
    return refusals


def _refusal(reason: str, field: str, value: str, cure: str) -> Refusal:
    return Refusal(kind="invalid", reason=reason, field=field, value=value, cure=cure)
