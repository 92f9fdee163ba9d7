"""The example's Systems pass the gate, and its Project may be registered on them."""

from pathlib import Path

from shared.contracts.releases import PublishRelease
from shared.packages.archive import pack_folder
from shared.project_file import read_version_map
from tests.registry.registry_world import LENA, Registry, project

EXAMPLES = Path(__file__).parents[2] / "examples"
# What others require comes first.
PACKAGES = (
    "notifications-system/0.3.2",
    "auth-system/1.2.4",
    "onboarding-system/0.5.4",
    "quote-engine/0.9.1",
    "auth-system/1.3.0",
)


async def test_the_examples_are_published_and_pinned(registry: Registry) -> None:
    changes = {}
    for path in PACKAGES:
        system, version = path.split("/")
        digest = await registry.content.put(pack_folder(EXAMPLES / "systems" / path))
        event = await registry.verdict(
            PublishRelease(actor=LENA, system=system, version=version, package=digest)
        )
        changes[path] = event.change
    assert changes["auth-system/1.3.0"] == "minor"
    pins = read_version_map((EXAMPLES / "project" / "version-map.yaml").read_text())
    assert (await registry.register(project(), dict(pins))).revision == 1
