"""The bill of materials says all that production runs, the same each time, and no licence slips through."""

import json
import tomllib
from pathlib import Path

from local.sbom import Component, components, document, not_allowed

ROOT = Path(__file__).resolve().parents[2]


def test_it_names_every_runtime_dependency_with_a_digest_and_a_licence() -> None:
    """Catches a dependency that is left out, a tool of the tests, and one without a licence."""
    found = components()
    names = {each.name for each in found}
    assert {"pyrage", "cryptography", "hvac", "uvloop", "@prisma/schema-engine-wasm", "certifi"} <= names
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "upgradepath"}
    assert list(not_allowed(found)) == []
    locked = {each["name"]: each for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    for each in document(found)["components"]:
        assert each["licenses"][0]["expression"]
        if each["purl"].startswith("pkg:pypi/"):
            assert each["version"] == locked[each["name"]]["version"]
        digests = [
            *each.get("hashes", ()),
            *(h for one in each.get("externalReferences", ()) for h in one["hashes"]),
        ]
        assert digests, each["name"]
    assert "postgresql" in json.dumps(document(found))


def test_it_is_the_same_each_time_and_another_for_other_components() -> None:
    found = components()
    assert json.dumps(document(found)) == json.dumps(document(components()))
    assert document(found)["serialNumber"] != document(found[1:])["serialNumber"]


def test_an_unknown_or_forbidden_licence_is_told_and_an_alternative_is_enough() -> None:
    def said(licence: str) -> list[str]:
        return list(not_allowed([Component("some-library", "1.0", licence, {})]))

    assert "nobody knows" in said("")[0]
    assert "not among" in said("AGPL-3.0-only")[0]
    assert "not among" in said("MIT AND GPL-3.0-only")[0]
    for licence in ("GPL-2.0-only OR MIT", "Apache-2.0 WITH LLVM-exception", "(MIT AND PSF-2.0)"):
        assert said(licence) == []
