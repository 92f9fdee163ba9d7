"""Which of the partner's workflow rules depend on something that an upgrade changes. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.executor.stages.merging import changed_files
from services.executor.stages.tools import Packages
from shared.contracts.facts import ConfigChange, RuleImpact
from shared.contracts.stages import Finding
from shared.declarations import parse_toml
from shared.errors import Failure, Reject

_REFERENCE = re.compile(r"(?P<system>[a-z][a-z0-9-]*):(?P<thing>\S.*)")
_MODEL = re.compile(r"^\s*model\s+(?P<name>\w+)\s*\{(?P<body>.*?)^\s*\}", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """One rule file: its name and what it says that it depends on."""

    name: str
    depends_on: tuple[str, ...]


def read_rules(files: Mapping[str, str]) -> tuple[Rule, ...]:
    """Read rule files by path. Raises `Failure` with every one that cannot be read."""
    rules: list[Rule] = []
    findings: list[Finding] = []
    for path, text in sorted(files.items()):
        try:
            values = parse_toml(text, file=path)
        except Reject as rejected:
            findings += [_finding(path, refusal.reason, refusal.cure) for refusal in rejected.refusals]
            continue
        references = values.get("depends_on")
        if not isinstance(references, list) or not all(map(_sound, references)):
            cure = 'write depends_on = ["<system>:<file>", "<system>:config.<key>", "<system>:model.<Name>"]'
            findings.append(_finding(path, "depends_on is not a list of references", cure))
            continue
        name = values.get("name")
        rules.append(Rule(f"{path}: {name}" if isinstance(name, str) else path, tuple(references)))
    if findings:
        raise Failure("a workflow rule cannot be read", *findings)
    return tuple(rules)


def impacts(
    rules: Sequence[Rule], upgrades: Sequence[Packages], config: Sequence[ConfigChange]
) -> tuple[RuleImpact, ...]:
    """The rules that are touched, each with what touches it."""
    found = [
        RuleImpact(
            rule=rule.name,
            depends_on=tuple(
                reference for reference in rule.depends_on if _touched(reference, upgrades, config)
            ),
        )
        for rule in rules
    ]
    return tuple(impact for impact in found if impact.depends_on)


def _touched(reference: str, upgrades: Sequence[Packages], config: Sequence[ConfigChange]) -> bool:
    matched = _REFERENCE.fullmatch(reference)
    packages = next((one for one in upgrades if matched and one.upgrade.system == matched["system"]), None)
    if matched is None or packages is None:
        return False
    thing = matched["thing"]
    if thing in packages.old.files or thing in packages.new.files:
        return thing in changed_files(packages)
    kind, _, name = thing.partition(".")
    if kind == "config":
        keys = [change.key for change in config if change.system == packages.upgrade.system]
        known = _has_key(packages.old.manifest.config, name) or _has_key(packages.new.manifest.config, name)
        return not known or any(key == name or key.startswith(f"{name}.") for key in keys)
    if kind == "model":
        before, after = _models(packages.old.schema), _models(packages.new.schema)
        return name not in before or before.get(name) != after.get(name)
    # Neither package has it, so nobody can say that the rule is safe.
    return True


def _has_key(values: Mapping[str, Any], key: str) -> bool:
    value: Any = values
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def _models(schema: str) -> dict[str, tuple[str, ...]]:
    """Each model's lines; how they are indented or aligned does not matter."""
    return {
        matched["name"]: tuple(
            " ".join(line.split()) for line in matched["body"].splitlines() if line.strip()
        )
        for matched in _MODEL.finditer(schema)
    }


def _sound(reference: object) -> bool:
    return isinstance(reference, str) and _REFERENCE.fullmatch(reference) is not None


def _finding(path: str, detail: str, cure: str) -> Finding:
    return Finding(kind="project-file", subject=path, detail=detail, cure=cure)
