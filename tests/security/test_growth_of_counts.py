"""Eight times the things take some eight times the time, and not sixty-four: readers and lists alike."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product

import pytest

from services.executor.domain.whose import Whose
from services.executor.stages.impact import Rule, impacts
from services.executor.stages.numbering import Source, plan_migrations
from services.executor.stages.path_clashes import clashing
from services.executor.stages.toml_edit import edited
from services.executor.stages.tools import Packages
from services.planner.moves import choose_upgrades
from services.planner.together import Asked
from shared.clients.git_objects import Listing
from shared.clients.git_trees import Trees
from shared.clients.git_values import Entry
from shared.clients.git_verdicts import verdict_of
from shared.contracts.refusals import Refusal, fitting
from shared.contracts.releases import Release
from shared.contracts.tasks import Upgrade
from shared.errors import Failure, Reject
from shared.packages.globs import matched
from shared.packages.package import read_package
from shared.prisma.three_way import in_order, merge_fragment
from shared.toml_layout import Key
from tests.packages.package_files import a_package, packed
from tests.security.test_reader_laws import READERS, WORDS

_TIMES = 8
_GROWTH_MAX = 4 * _TIMES
_CHARACTERS = 1_000
_SUSPECT_S = 0.03
_THINGS = 300


def _taken(work: Callable[[], object], *refuses: type[Exception]) -> float:
    before = time.thread_time()
    with suppress(Reject, Failure, ValueError, *refuses):
        work()
    return time.thread_time() - before


def _packages(old: str, new: str) -> Packages:
    one, other = (read_package(packed(a_package(more={"prisma/schema.prisma": each}))) for each in (old, new))
    about = {"system": one.system, "from_version": "1.0.0", "to_version": "1.3.0"}
    digests = {"from_package": "a" * 64, "to_package": "b" * 64}
    return Packages(Upgrade.model_validate(about | digests), one, other)


def _schema(count: int) -> str:
    return "".join(f"model M{number} {{\n id Int @id\n}}\n" for number in range(count))


def _blank(count: int) -> Packages:
    return _packages("\n" * 8 * count, "model A {\n id Int @id\n" + "\n" * 8 * count)


def _references(count: int) -> Callable[[], object]:
    packages = _packages(_schema(count), _schema(count + 1))
    rules = [Rule("a", tuple(f"{packages.upgrade.system}:model.M{number}" for number in range(count)))]
    return lambda: impacts(rules, [packages], [])


def _renamed(count: int) -> Callable[[], object]:
    files = {f"prisma/migrations/{number:014d}_a/migration.sql": "" for number in range(count // 4)}
    package = read_package(packed(a_package(more=files)))
    sources = [Source(f"{n}", package.system, f"b{n}", "a" * 64) for n in range(count)]
    about = {"system": package.system, "from_version": "1.0.0", "to_version": "1.3.0"}
    upgrade = Upgrade.model_validate(about | {"from_package": "a" * 64, "to_package": "b" * 64})
    return lambda: plan_migrations((), sources, [Packages(upgrade, package, package)])


def _wanted(count: int) -> Callable[[], object]:
    pins = {f"a{number}": "1.0.0" for number in range(count)}
    about = {"package": "a" * 64, "summary": "a", "published_at": datetime(2026, 1, 1, tzinfo=UTC)}
    releases = {
        (system, version): Release.model_validate(
            {"system": system, "version": version, "published_by": "lena", "migrations": (), **about}
        )
        for system, version in product(pins, ("1.0.0", "1.1.0"))
    }
    wanted = {**dict.fromkeys(pins), **{f"b{number}": None for number in range(count)}}
    return lambda: choose_upgrades(
        Asked(wanted, {f"c{number}": None for number in range(count)}), pins, releases
    )


def _required(count: int) -> Callable[[], object]:
    """Each requires the next, which the Project lacks: the cure brings in a bounded number of them."""
    about = {"package": "a" * 64, "summary": "a", "published_at": datetime(2026, 1, 1, tzinfo=UTC)}
    releases = {
        (f"a{number}", version): Release.model_validate(
            {
                "system": f"a{number}",
                "version": version,
                "published_by": "lena",
                "migrations": (),
                "requires": {f"a{number + 1}": ">=1"},
                **about,
            }
        )
        for number, version in product(range(count), ("1.0.0", "1.1.0"))
    }
    return lambda: choose_upgrades(Asked({"a0": None}), {"a0": "1.0.0"}, releases)


def _files_for_folders(count: int) -> Callable[[], object]:
    entry = Entry("100644", "a" * 40)
    folders = {f"f{number}": "b" * 40 for number in range(count)}
    listing = Listing({f"{folder}/a": entry for folder in folders}, folders)
    return lambda: Trees(listing).change(dict.fromkeys(folders, entry))


def _keys(count: int) -> Callable[[], object]:
    text = "".join(f"[t{number}]\na = 1\nb.c = 2\n" for number in range(count))
    removed = [(f"t{number}", "a") for number in range(count)]
    added: dict[Key, int] = {(f"t{number}", "b", "d"): 1 for number in range(count)}
    return lambda: edited(text, removed, {}, added)


def _lines(count: int) -> Callable[[], object]:
    base, ours, theirs = ("\n".join(f"// {side}{n}" for n in range(count)) for side in "abc")
    return lambda: merge_fragment(base, ours, theirs, ("a", "b"))


def _refused(count: int) -> Callable[[], object]:
    one = Refusal(kind="invalid", reason="a" * 5000, cure="b")
    return lambda: fitting([one] * count)


COUNTS: dict[str, Callable[[int], Callable[[], object]]] = {
    "characters of a path": lambda n: lambda: matched(["**a**a**b"], ["a" * n]),
    "patterns of paths": lambda n: lambda: matched(["*a*a*b"], [f"a{each}" for each in range(n)]),
    "keys of two sides": lambda n: lambda: in_order(range(n), range(n, 2 * n)),
    "comments of two sides": _lines,
    "blank lines of a schema": lambda n: lambda p=_blank(n): impacts([Rule("a", ("a:model.A",))], [p], []),  # type: ignore[misc]
    "references of rules": _references,
    "renamed migrations": _renamed,
    "Systems of a plan": _wanted,
    "Systems that require one another": _required,
    "files in place of folders": _files_for_folders,
    "keys of a configuration": _keys,
    "paths of a repository": lambda n: lambda: clashing(map(str, range(n)), map("A{}".format, range(n))),
    "refusals": _refused,
    "what a forge says": lambda n: lambda: verdict_of("exceeds remote: pack object file " * 5 * n),
    "schemas named": lambda n: (
        lambda: Whose("schemas = extensions = schema ( " * 9 * n).is_ours("schema", "a")
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_more_things_take_their_share_of_time(name: str) -> None:
    """Each list that a stranger makes long is gone through once for all, and not once for each."""
    few, many = COUNTS[name](_THINGS), COUNTS[name](_TIMES * _THINGS)
    once = max(min(_taken(few) for _ in range(3)), 0.0005)
    assert _taken(many) < _GROWTH_MAX * once


@pytest.mark.parametrize("name", READERS)
def test_a_longer_text_takes_its_share_of_time(name: str) -> None:
    """The worst of each reader: one word of its language over and over, closed by nothing."""
    read, refuses = READERS[name]
    for word, end in product((*WORDS, "\n", " "), ("", "\n")):

        def taken(characters: int, piece: str = word + end) -> float:
            return _taken(lambda: read(piece * (characters // len(piece))), *refuses)

        if (once := taken(_CHARACTERS)) > _SUSPECT_S:
            once = min(once, *(taken(_CHARACTERS) for _ in range(2)))
            assert taken(_TIMES * _CHARACTERS) < _GROWTH_MAX * once, repr(word + end)


def test_what_one_side_adds_stands_behind_what_it_follows() -> None:
    assert in_order("xaybz", "acb") == ["x", "a", "y", "c", "b", "z"]
    assert in_order("xyz", "") == ["x", "y", "z"]
    assert in_order("ba", "ab") == ["a", "b"]
    assert in_order("bxa", "ab") == ["a", "b", "x"]


def test_answers_with_too_much_to_say_fit_into_a_message() -> None:
    """One of 100 refusals, each of some thousand umlauts, was refused itself, and nobody was answered."""
    many = fitting([Refusal(kind="invalid", reason="ü" * 10_000, cure="ü" * 2_000)] * 100)
    assert sum(len(each.model_dump_json().encode()) for each in many) < 900_000
    assert "more refusals" in many[-1].reason
    assert fitting(many[:3]) == many[:3]


@pytest.mark.parametrize(
    ("brought", "there", "found"),
    [
        ("systems/a/README.md", "systems/a/readme.md", {"systems/a/readme.md": "systems/a/README.md"}),
        ("systems/a/é", "systems/a/e\u0301", {"systems/a/e\u0301": "systems/a/é"}),
        ("systems/a/b", "Systems/c", {"Systems": "systems"}),
        ("systems/a/b", "systems/a/b", {}),
        ("systems/a/b", "systems/a/c", {}),
    ],
)
def test_paths_that_fall_together_are_found(brought: str, there: str, found: dict[str, str]) -> None:
    """A checkout on macOS or Windows would have had one of the two files, and nobody would have been told."""
    assert clashing([brought], [there]) == found
