"""A package's migrations against those that were published: an applied migration never changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from shared.contracts.folding import folded
from shared.contracts.refusals import Refusal
from shared.contracts.releases import PackageMigration, Release
from shared.packages.package import MIGRATIONS, Migration, Package
from shared.reading.progress import now_reading
from shared.versions import precedence

if TYPE_CHECKING:
    from shared.sql.parsing import Fault


def package_migrations(package: Package) -> tuple[PackageMigration, ...]:
    """The migrations as a Release names them, in order."""
    return tuple(
        PackageMigration(
            name=migration.name,
            checksum=migration.checksum,
            reversible=migration.down_sql is not None,
            contracting=package.contracting(migration),
        )
        for migration in package.migrations
    )


def changed_history(package: Package, before: Release | None, patched: Release | None) -> Iterator[Refusal]:
    """What is wrong with the migrations after `before`, and, if this is a patch, after `patched`."""
    checksums = {migration.name: migration.checksum for migration in package.migrations}
    if before is not None:
        yield from _kept(checksums, before)
        yield from _appended(list(checksums), before)
    published = set() if before is None else {migration.name for migration in before.migrations}
    for migration in package.migrations:
        if migration.name not in published:
            yield from _readable(migration)
    if patched is not None:
        known = {migration.name for migration in patched.migrations}
        cure = f"publish it as {precedence(patched.version).bump_minor()}"
        for name in checksums:
            if name not in known:
                yield _refusal(f"a patch after {patched.version} brings no new migration", name, cure)


def _kept(checksums: dict[str, str], before: Release) -> Iterator[Refusal]:
    cure = f"restore it as it is in {before.version}, and write a new migration for what is to change"
    for migration in before.migrations:
        found = checksums.get(migration.name)
        if found is None:
            yield _refusal(f"this migration of {before.version} is gone", migration.name, cure)
        elif found != migration.checksum:
            reason = (
                f"migration.sql is not what it is in {before.version}: an applied migration never changes"
            )
            yield _refusal(reason, migration.name, cure)


def _appended(names: Iterable[str], before: Release) -> Iterator[Refusal]:
    last = max((migration.name for migration in before.migrations), default="")
    for name in _late(names, before):
        reason = f"this new migration stands before {last} of {before.version}, which is applied already"
        yield _refusal(reason, name, "give it a later timestamp")


def _late(names: Iterable[str], before: Release) -> list[str]:
    """The new migrations that stand before one that was published."""
    known = {migration.name for migration in before.migrations}
    last = max(known, default="")
    return [name for name in names if name not in known and name < last]


def late_migrations(package: Package, before: Release | None) -> tuple[Refusal, ...]:
    """What `changed_history` says of new migrations with an earlier timestamp than a published one."""
    names = [migration.name for migration in package.migrations]
    return () if before is None else folded(_appended(names, before))


def orders_of(package: Package, earlier: Iterable[Release]) -> tuple[tuple[str, ...], ...]:
    """The package's own order, and each other one in which a Project of an earlier Release gets it."""
    names = [migration.name for migration in package.migrations]
    orders: dict[tuple[str, ...], None] = {tuple(names): None}
    for release in earlier:
        had = {migration.name for migration in release.migrations}
        orders[*(name for name in names if name in had), *(name for name in names if name not in had)] = None
    return tuple(orders)


def _readable(migration: Migration) -> Iterator[Refusal]:
    """What PostgreSQL or Prisma would stumble over, found by reading; rows and schema are a plan's matter."""
    # PostgreSQL's parser takes a tenth of the registry's memory: it comes with the first package.
    from shared.sql.script import faults_of

    for name, sql in (("migration.sql", migration.sql), ("down.sql", migration.down_sql or "")):
        now_reading(f"{MIGRATIONS}{migration.name}/{name}")
        for fault in faults_of(sql):
            yield unreadable(f"{migration.name}/{name}", fault)


def unreadable(script: str, fault: Fault) -> Refusal:
    """The refusal of a script, named by its migration and file, for a fault in it."""
    return _refusal(fault.reason, f"{script}:{fault.line}", fault.cure)


def _refusal(reason: str, name: str, cure: str) -> Refusal:
    return Refusal(kind="invalid", reason=reason, field=f"{MIGRATIONS}{name}", value=name, cure=cure)
