"""What a package's migrations may not do: to databases, and to the code that runs while they do."""

from collections.abc import Iterator

from services.registry.domain.history import unreadable
from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.packages.package import MANIFEST, MIGRATIONS, Migration, Package
from shared.reading.progress import now_reading
from shared.sql.classing import broken, classify
from shared.sql.concerns import Concern, grouped
from shared.sql.parsing import Unreadable
from shared.sql.permitted import concerns_of
from shared.sql.scene import Scene
from shared.sql.script import read_statements

_NAMED_MAX = 100


def unsafe_steps(package: Package, before: Release | None) -> Iterator[Refusal]:
    """Scripts that reach beyond a Project's schemas, and destructive statements while the old code runs.

    Without a Release before there is no old code, and everything is new.
    """
    known = {migration.name for migration in before.migrations} if before else set()
    new = [each for each in package.migrations if each.name not in known]
    yield from _outward(package, new)
    if before is not None:
        yield from _breaking(package, new)


def _outward(package: Package, new: list[Migration]) -> Iterator[Refusal]:
    """A published migration never changes, and the executor judges it again; its down.sql may change."""
    scripts = [(f"{each.name}/migration.sql", each.name, each.sql) for each in new]
    scripts += [(f"{each.name}/down.sql", each.name, each.down_sql or "") for each in package.migrations]
    found: list[tuple[str, Concern]] = []
    for place, _, sql in scripts:
        now_reading(f"{MIGRATIONS}{place}")
        try:
            found += [(place, concern) for concern in concerns_of(sql) if concern.kind == "refused"]
        except Unreadable as error:
            yield unreadable(place, error.fault)
    names = {place: name for place, name, _ in scripts}
    for group in grouped(found):
        yield Refusal(
            kind="invalid",
            reason=group.sentence,
            field=f"{MIGRATIONS}{group.first}",
            value=names[group.first],
            cure=group.cure,
        )


def _breaking(package: Package, new: list[Migration]) -> Iterator[Refusal]:
    # Some Project comes from a release whose code uses it still: so everything counts as used.
    scene = Scene(None)
    found: list[tuple[str, int, str]] = []
    for migration in sorted(new, key=package.contracting):
        now_reading(f"{MIGRATIONS}{migration.name}/migration.sql")
        try:
            impacts = classify(read_statements(migration.sql), scene)
        except Unreadable:
            # Refused by its line already.
            continue
        if package.contracting(migration):
            continue
        for impact in broken(impacts):
            found.append((migration.name, impact.line, "; ".join(impact.because)))
    yield from _destructive(found, package.manifest.version)


def _destructive(found: list[tuple[str, int, str]], version: str) -> Iterator[Refusal]:
    """One refusal for all; `found` are migrations, lines and reasons."""
    if not found:
        return
    (name, line, because), *others = found
    more = "; ".join(f"{other}/migration.sql line {at}: {why}" for other, at, why in others[:_NAMED_MAX])
    left = f"; and {len(others) - _NAMED_MAX} more" if len(others) > _NAMED_MAX else ""
    yield Refusal(
        kind="invalid",
        reason=f"line {line} is destructive, and code before {version} does not survive it: {because}"
        + (f"; nor this: {more}{left}" if more else ""),
        field=f"{MIGRATIONS}{name}/migration.sql",
        value=name,
        cure=f"give it a migration of its own and list that in {MANIFEST}: [migrations]"
        " contract = [...], so that it runs after the activation",
    )
