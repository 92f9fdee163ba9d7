"""What a package's new migrations do to the code that runs while they do."""

from collections.abc import Iterator

from shared.contracts.refusals import Refusal
from shared.contracts.releases import Release
from shared.packages.package import MANIFEST, MIGRATIONS, Migration, Package
from shared.sql.classing import broken, classify
from shared.sql.parsing import Unreadable
from shared.sql.scene import Scene
from shared.sql.script import read_statements


def unsafe_steps(package: Package, before: Release | None) -> Iterator[Refusal]:
    """Destructive statements that run while the old code does.

    Without a Release before there is no old code, and everything is new.
    """
    known = {migration.name for migration in before.migrations} if before else set()
    # Some Project comes from a release whose code uses it still: so everything counts as used.
    scene = Scene(None)
    new = [each for each in package.migrations if each.name not in known]
    for migration in sorted(new, key=package.contracting):
        file = f"{MIGRATIONS}{migration.name}/migration.sql"
        try:
            impacts = classify(read_statements(migration.sql), scene)
        except Unreadable:
            # Told with its line where the package's history is judged.
            continue
        if before is None or package.contracting(migration):
            continue
        for impact in broken(impacts):
            yield _refusal(
                f"line {impact.line} is destructive, and code before {package.manifest.version} does not"
                f" survive it: {'; '.join(impact.because)}",
                file,
                migration,
                f"give it a migration of its own and list that in {MANIFEST}: [migrations] contract = [...]"
                ", so that it runs after the activation",
            )


def _refusal(reason: str, field: str, migration: Migration, cure: str) -> Refusal:
    return Refusal(kind="invalid", reason=reason, field=field, value=migration.name, cure=cure)
