"""What the registry refuses of a package's SQL, as its publisher reads it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.registry.domain.history import package_migrations
from services.registry.domain.steps import unsafe_steps
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.packages.archive import pack_folder
from shared.packages.package import Migration, Package, read_package
from tests.security.sql_permitted import LAWFUL
from tests.security.sql_refused import REFUSED

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples/systems/auth-system/1.3.0"
NAME = "20990101000000_x"


@pytest.fixture(scope="module")
def example() -> Package:
    return read_package(pack_folder(_EXAMPLE))


def refusals(
    package: Package, *scripts: tuple[str, str | None], before: Release | None = None
) -> list[Refusal]:
    migrations = tuple(
        Migration(f"{NAME}{number}", sql, down_sql, "0" * 64)
        for number, (sql, down_sql) in enumerate(scripts)
    )
    return list(unsafe_steps(replace(package, migrations=migrations), before))


@pytest.mark.parametrize("what", REFUSED)
def test_outward_sql_is_refused_on_the_way_up_and_down(example: Package, what: str) -> None:
    """Would catch a script that the gate does not look at."""
    for scripts in ((REFUSED[what], None), ("SELECT 1", REFUSED[what])):
        found = refusals(example, scripts)
        assert found
        for each in found:
            assert each.field is not None
            assert each.field.startswith(f"prisma/migrations/{NAME}0/")
            assert f"{NAME}0" in str(each.value)
            assert " line 1 (" in each.reason or " line 2 (" in each.reason
            assert each.cure


def test_lawful_sql_is_published(example: Package) -> None:
    """Would catch a gate that nobody could publish through."""
    assert refusals(example, *((sql, sql) for sql in LAWFUL)) == []


def test_the_same_refusal_for_fifty_places_is_one(example: Package) -> None:
    """Would catch an answer as long as the package."""
    (found,) = refusals(example, ("\n".join(f"CREATE ROLE r{number};" for number in range(50)), None))
    assert found.reason.count("CREATE ROLE") == 10
    assert "and 40 more" in found.reason
    assert "line 10 (CREATE ROLE r9)" in found.reason


def test_what_nobody_can_read_is_refused(example: Package) -> None:
    """Would catch a script that passes because the parser stumbles before the judge."""
    for sql in ("CREATE ROLE r; SELEC", "DO $$ BEGIN CREATE ROL; END $$", "SELECT 1 \\gexec"):
        assert refusals(example, (sql, None))


def test_a_published_migration_keeps_and_its_way_down_is_judged_again(example: Package) -> None:
    """Would catch a down.sql that is exchanged in a later package: only migration.sql has a checksum."""
    before = Release(
        system="auth-system",
        version="1.2.0",
        package="0" * 64,
        summary="Before",
        migrations=package_migrations(
            replace(example, migrations=(Migration(f"{NAME}0", "SET ROLE x", None, "0" * 64),))
        ),
        published_at=datetime.now(UTC),
        published_by="library@example.com",
    )
    assert refusals(example, ("SET ROLE x", None), before=before) == []
    (found,) = refusals(example, ("SET ROLE x", "SET ROLE y"), before=before)
    assert found.field == f"prisma/migrations/{NAME}0/down.sql"
