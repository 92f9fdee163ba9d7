"""Whether an upgrade breaks anything: what its releases declare, and what the plan has found. Pure."""

from collections.abc import Iterable, Iterator

from shared.contracts.facts import Answer, PlannedMigration, ReviewFacts
from shared.contracts.impact import Verdict

_NOTHING = "the releases declare nothing breaking"


def does_it_break(declared: tuple[str, ...], facts: ReviewFacts) -> Answer:
    """Yes for anything that is declared or found; "not known" where nobody can tell beforehand."""
    found = tuple(dict.fromkeys((*declared, *_found(facts))))
    if found:
        return Answer(answer="yes", because=found)
    unknown = tuple(dict.fromkeys(_unknown(facts)))
    if unknown:
        return Answer(answer="not known", because=(_NOTHING, *unknown))
    return Answer(answer="no", because=())


def foretold(migrations: Iterable[PlannedMigration], verdict: Verdict) -> Iterator[str]:
    """What the rows that exist say against a migration."""
    for migration in migrations:
        for statement in migration.impact.statements if migration.impact else ():
            for probe in statement.probes:
                if probe.verdict == verdict:
                    found = probe.detail if probe.rows is None else f"{probe.rows:,}"
                    yield f"{migration.folder} line {statement.line} {verdict}: {probe.question}: {found}"


def _found(facts: ReviewFacts) -> Iterator[str]:
    yield from foretold(facts.migrations, "would fail")
    yield from _of_old_code(facts, "fails")
    yield from (f"{file.path} will conflict" for file in facts.files if file.conflict)


def _unknown(facts: ReviewFacts) -> Iterator[str]:
    yield from foretold(facts.migrations, "unknown")
    yield from _of_old_code(facts, "may fail")


def _of_old_code(facts: ReviewFacts, answer: str) -> Iterator[str]:
    """What the code that runs meets meanwhile; it runs no more when a contracting migration does."""
    for migration in facts.migrations:
        statements = migration.impact.statements if migration.impact and not migration.contracting else ()
        for each in statements:
            if each.old_code == answer:
                because = "; ".join(each.because)
                yield f"{migration.folder} line {each.line}: the old code {answer}: {because}"
