"""Which of the partner's workflow rules depend on something that an upgrade changes. Pure."""

import re
from bisect import bisect_left
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
_MODEL = re.compile(r"\s*+model\s++(?P<name>\w++)\s*+\{(?P<rest>.*)")


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
    systems = {packages.upgrade.system: _Changes.of(packages, config) for packages in reversed(upgrades)}
    found = [
        RuleImpact(
            rule=rule.name,
            depends_on=tuple(reference for reference in rule.depends_on if _touched(reference, systems)),
        )
        for rule in rules
    ]
    return tuple(impact for impact in found if impact.depends_on)


@dataclass(frozen=True)
class _Changes:
    """The changes of one System's upgrade: found once, and asked for each of thousands of references."""

    files: frozenset[str]
    changed: frozenset[str]
    configs: tuple[Mapping[str, Any], ...]
    keys: tuple[str, ...]
    """The changed keys of its configuration, sorted."""
    models: tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[str, ...]]]

    @classmethod
    def of(cls, packages: Packages, config: Sequence[ConfigChange]) -> "_Changes":
        old, new = packages.old, packages.new
        return cls(
            files=frozenset(old.files) | frozenset(new.files),
            changed=frozenset(changed_files(packages)),
            configs=(old.manifest.config, new.manifest.config),
            keys=tuple(sorted(each.key for each in config if each.system == packages.upgrade.system)),
            models=(_models(old.schema), _models(new.schema)),
        )

    def changes_key(self, name: str) -> bool:
        """True when this key of the configuration changes, or one below it."""
        return any(
            at < len(self.keys) and (self.keys[at] == wanted or self.keys[at].startswith(f"{name}."))
            for wanted in (name, f"{name}.")
            for at in [bisect_left(self.keys, wanted)]
        )


def _touched(reference: str, systems: Mapping[str, _Changes]) -> bool:
    matched = _REFERENCE.fullmatch(reference)
    changes = systems.get(matched["system"]) if matched else None
    if matched is None or changes is None:
        return False
    thing = matched["thing"]
    if thing in changes.files:
        return thing in changes.changed
    kind, _, name = thing.partition(".")
    if kind == "config":
        known = any(_has_key(values, name) for values in changes.configs)
        return not known or changes.changes_key(name)
    if kind == "model":
        before, after = changes.models
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
    models: dict[str, tuple[str, ...]] = {}
    name, body = "", [""]
    for line in schema.splitlines():
        if name and line.lstrip().startswith("}"):
            models[name] = tuple(" ".join(each.split()) for each in body if each.strip())
            name = ""
        elif name:
            body.append(line)
        elif (matched := _MODEL.match(line)) is not None:
            name, body = matched["name"], [matched["rest"]]
    return models


def _sound(reference: object) -> bool:
    return isinstance(reference, str) and _REFERENCE.fullmatch(reference) is not None


def _finding(path: str, detail: str, cure: str) -> Finding:
    return Finding(kind="project-file", subject=path, detail=detail, cure=cure)
