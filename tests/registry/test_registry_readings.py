"""A package that ends its reader is given up after two tries, which are counted before they are made."""

import pytest
from sqlalchemy import text

from services.registry.reading import PackageReader, read_outline
from shared.errors import Reject
from shared.reading.readers import Limits, Readers
from tests.packages.package_files import a_package, packed
from tests.registry.registry_world import Registry

DIGEST = "0" * 64


async def _readings(registry: Registry) -> list[tuple[str, int]]:
    async with registry.database.transaction() as tx:
        found = await tx.session.execute(text("select actor, tries from readings order by actor"))
        return [(actor, tries) for actor, tries in found]


async def test_a_package_that_ends_its_reader_is_given_up_and_named(registry: Registry) -> None:
    data = packed(a_package())
    # So little memory that nothing can be read in it.
    children = Readers(limits=Limits(memory_bytes=48 << 20))
    reader = PackageReader(registry.database, lambda: children)
    with pytest.raises(Reject) as rejected:
        await reader.outline("library", DIGEST, data)
    (refusal,) = rejected.value.refusals
    assert "ended the reader twice" in refusal.reason
    assert (refusal.value, refusal.cure != "") == (DIGEST, True)
    # Another process knows it, and does not try.
    sound = PackageReader(registry.database)
    with pytest.raises(Reject, match="ended the reader twice"):
        await sound.outline("library", DIGEST, data)
    # It is the actor's own loss.
    assert (await sound.outline("maintainer", DIGEST, data)).system == "auth-system"


async def test_a_try_that_the_process_did_not_survive_counts(registry: Registry) -> None:
    data = packed(a_package())
    for _ in range(2):
        async with registry.database.transaction() as tx:
            await tx.begin_reading(DIGEST, "library")
    async with registry.database.transaction() as tx:
        await tx.reading_ended(DIGEST, "library", "CHANGELOG.md")
    with pytest.raises(Reject) as rejected:
        await PackageReader(registry.database).outline("library", DIGEST, data)
    assert rejected.value.refusals[0].field == "CHANGELOG.md"


async def test_a_reading_that_ended_well_is_not_counted(registry: Registry) -> None:
    reader = PackageReader(registry.database)
    for _ in range(3):
        await reader.outline("library", DIGEST, packed(a_package()))
        with pytest.raises(Reject):
            await reader.outline("library", DIGEST, b"no package")
    assert await _readings(registry) == []


async def test_tries_of_the_day_before_count_no_more(registry: Registry) -> None:
    async with registry.database.transaction() as tx:
        await tx.begin_reading(DIGEST, "library")
        await tx.begin_reading(DIGEST, "library")
        await tx.session.execute(text("update readings set begun_at = begun_at - interval '2 days'"))
    async with registry.database.transaction() as tx:
        assert await tx.begin_reading(DIGEST, "library") == (1, "")


def test_an_outline_has_the_files_names_and_not_their_contents() -> None:
    outline = read_outline(packed(a_package(files={"a.py": "x = 1\n"})))
    assert outline.files == {"a.py": ("100644", b"")}
