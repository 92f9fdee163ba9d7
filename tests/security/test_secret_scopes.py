"""A secret belongs to one Project and one environment, whatever a definition or a folder says.

Each test would catch a way in which a Project's code gets a value that is not its own.
"""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.clients.environments import EnvironmentRunner
from shared.clients.secret_sources import SCOPES, Scope, SecretPlace, UnusableSecret, variable_of
from shared.clients.secrets import HIDDEN_MAX, ForbiddenScope, MissingSecret, Secrets, named_by
from tests.registry.registry_world import project

BOLT = "postgresql://bolt:b0lt-s3cret@db/bolt"
NAMES = ("bolt-production-database", "bolt-portal", "production", "repository")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that bolt-portal has, and what lies beside and around it."""
    secrets = tmp_path / "secrets"
    for environment, name in itertools.product(SCOPES, NAMES):
        file = secrets / "bolt-portal" / environment / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(BOLT)
    (secrets / "mallory-portal" / "staging").mkdir(parents=True)
    (tmp_path / "outside").write_text(BOLT)
    return secrets


ATTEMPTS = [
    *(f"secret:{name}" for name in NAMES),
    *(f"secret:{scope}/{name}" for scope in SCOPES for name in NAMES),
    *(f"secret:../../bolt-portal/{scope}/{NAMES[0]}" for scope in SCOPES),
    "secret:..",
    "secret:.",
    "secret:",
    "secret:/etc/passwd",
    "secret:../outside",
    "secret:bolt-portal--production--production",
    "secret:bolt-portal__production__production",
    "secret:%2e%2e/outside",
    "secret:outside\0",
    "secret:a\nb",
    "secret:bolt\u2010portal",
    "secret:\uff42olt",
    "secret:BOLT-PRODUCTION-DATABASE",
    "secret:" + "a" * 201,
    "SECRET:bolt-portal",
    " secret:bolt-portal",
]


@pytest.mark.parametrize("environment", SCOPES)
@pytest.mark.parametrize("reference", ATTEMPTS)
def test_no_name_reaches_anothers_secret(folder: Path, reference: str, environment: Scope) -> None:
    environ = {
        str(variable_of(SecretPlace("bolt-portal", scope, name))): BOLT for scope in SCOPES for name in NAMES
    }
    secrets = Secrets(folder, environ).of("mallory-portal", environment)
    with pytest.raises((MissingSecret, ValueError)):
        secrets.resolve(reference)


@pytest.mark.parametrize("name", NAMES)
def test_staging_has_no_way_to_say_productions(folder: Path, name: str) -> None:
    own = folder / "mallory-portal" / "production" / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("of production")
    secrets = Secrets(folder, {})
    assert secrets.of("mallory-portal", "production").resolve(f"secret:{name}") == "of production"
    with pytest.raises(MissingSecret):
        secrets.of("mallory-portal", "staging").resolve(f"secret:{name}")


def test_a_worker_that_acts_for_staging_resolves_nothing_of_production(folder: Path) -> None:
    secrets = Secrets(folder, {}, scopes=("staging", "repository"))
    with pytest.raises(ForbiddenScope):
        secrets.of("bolt-portal", "production")


async def test_nothing_of_production_is_even_fetched_for_staging(folder: Path) -> None:
    class Watching:
        """A source that remembers what it was asked for."""

        def __init__(self) -> None:
            self.asked: list[SecretPlace] = []

        def read(self, place: SecretPlace) -> str | None:
            self.asked.append(place)
            return None

        def where(self, place: SecretPlace) -> str:
            return "nowhere"

        def unscoped(self, name: str) -> str | None:
            return None

        def refresh(self, places: tuple[SecretPlace, ...]) -> None:
            self.asked += places

    source = Watching()
    await Secrets(None, {}, more=[source], scopes=("staging", "repository")).prepare(project())
    assert {place.environment for place in source.asked} == {"staging"}
    assert {place.environment for place in named_by(project())} == {"production", "staging"}


@pytest.mark.parametrize(("commands", "scope"), [("staging", "production"), ("production", "staging")])
def test_commands_of_one_environment_take_no_secrets_of_the_other(commands: Any, scope: Scope) -> None:
    environment = project().definition.environments.staging
    with pytest.raises(ValueError, match="get no secrets of"):
        EnvironmentRunner(environment, commands, "", Secrets(None, {}).of("acme-portal", scope))


PARTS = ("a", "b", "c", "a-b", "b-c", "a--b", "a-b--c", "a-", "b-production", "production-b", "b--production")


def test_no_two_secrets_share_a_variable() -> None:
    places = [SecretPlace(*each) for each in itertools.product(PARTS, SCOPES, PARTS)]
    named: dict[str, SecretPlace] = {}
    for place in places:
        variable = variable_of(place)
        if variable is not None:
            assert variable not in named, f"{place} and {named[variable]} are both {variable}"
            named[variable] = place
    assert len(named) > 100


def test_a_name_without_a_variable_is_looked_for_in_files_alone(tmp_path: Path) -> None:
    file = tmp_path / "a--b" / "staging" / "c"
    file.parent.mkdir(parents=True)
    file.write_text("value")
    assert Secrets(tmp_path, {}).of("a--b", "staging").resolve("secret:c") == "value"
    with pytest.raises(MissingSecret, match="two hyphens"):
        Secrets(None, {"UPGRADES_SECRET__A__B__STAGING__C": BOLT}).of("a--b", "staging").resolve("secret:c")


@pytest.mark.parametrize("old", ["file", "variable"])
def test_a_secret_of_no_project_is_never_used_and_says_where_to_go(tmp_path: Path, old: str) -> None:
    environ = {"UPGRADES_SECRET_ACME_HOSTING": BOLT} if old == "variable" else {}
    if old == "file":
        (tmp_path / "acme-hosting").write_text(BOLT)
    with pytest.raises(MissingSecret, match="of no Project and never used: move it") as missing:
        Secrets(tmp_path, environ).of("acme-portal", "staging").resolve("secret:acme-hosting")
    assert str(tmp_path / "acme-portal" / "staging" / "acme-hosting") in str(missing.value)
    assert "UPGRADES_SECRET__ACME_PORTAL__STAGING__ACME_HOSTING" in str(missing.value)
    assert "s3cret" not in str(missing.value)


def _link(folder: Path, target: Path) -> None:
    (folder / "mallory-portal" / "staging" / "own").symlink_to(target)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "mallory-portal" / "staging" / "own")


def _bytes(folder: Path, data: bytes) -> None:
    (folder / "mallory-portal" / "staging" / "own").write_bytes(data)


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "a link out of the folder": lambda folder: _link(folder, folder.parent / "outside"),
    "a link to a file of the system": lambda folder: _link(folder, Path("/etc/passwd")),
    "a link to another Project's": lambda folder: _link(
        folder, folder / "bolt-portal" / "staging" / NAMES[0]
    ),
    "a link to production's": lambda folder: _link(folder, folder / "bolt-portal" / "production" / NAMES[0]),
    "a link to itself": lambda folder: _link(folder, folder / "mallory-portal" / "staging" / "own"),
    "a device that never ends": lambda folder: _link(folder, Path("/dev/zero")),
    "a pipe that nobody writes into": _pipe,
    "a folder": lambda folder: (folder / "mallory-portal" / "staging" / "own").mkdir(),
    "a file that is too large": lambda folder: _bytes(folder, b"x" * (1 << 20)),
    "bytes that are not text": lambda folder: _bytes(folder, b"\xff\xfe"),
    "a NUL byte": lambda folder: _bytes(folder, b"a\0b"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.timeout(10)
def test_only_a_plain_file_within_the_scope_is_read(folder: Path, kind: str) -> None:
    UNUSABLE[kind](folder)
    with pytest.raises(UnusableSecret) as caught:
        Secrets(folder, {}).of("mallory-portal", "staging").resolve("secret:own")
    assert "s3cret" not in str(caught.value)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("at", [".", "mallory-portal", "mallory-portal/staging"])
def test_kubernetes_mounts_are_read_through_their_links(tmp_path: Path, at: str) -> None:
    """One volume for all, for a Project, or for an environment: each swaps a folder `..data` at once."""
    mounted, inside = tmp_path / at, Path("mallory-portal/staging/own").relative_to(at)
    real = mounted / "..2026_11_30" / inside
    real.parent.mkdir(parents=True)
    real.write_text("value\n")
    (mounted / "..data").symlink_to("..2026_11_30")
    (mounted / inside.parts[0]).symlink_to(Path("..data") / inside.parts[0])
    assert Secrets(tmp_path, {}).of("mallory-portal", "staging").resolve("secret:own") == "value"


# --- what is hidden in a text tells nobody what another's secret is ------------------------------


def _oracle() -> Secrets:
    secrets = Secrets(
        None,
        {
            "UPGRADES_SECRET__ACME_PORTAL__STAGING__HOSTING": "hunter2-of-acme",
            "UPGRADES_SECRET__ACME_PORTAL__PRODUCTION__DATABASE": "postgresql://app:pr0duction@db/acme",
            "UPGRADES_SECRET__GLOBEX_PORTAL__STAGING__HOSTING": "own-of-globex",
        },
        own=("the-workers-own-key",),
    )
    secrets.of("acme-portal", "staging").resolve("secret:hosting")
    secrets.of("acme-portal", "production").resolve("secret:database")
    secrets.of("globex-portal", "staging").resolve("secret:hosting")
    return secrets


def test_a_project_does_not_learn_anothers_secret_by_guessing_in_what_it_prints() -> None:
    """Each guess that became *** would be confirmed: a password of a word list falls in one report."""
    secrets = _oracle()
    guesses = "hunter2-of-acme pr0duction own-of-globex the-workers-own-key"
    globex = "hunter2-of-acme pr0duction *** ***"
    assert secrets.of("globex-portal", "staging").redact(guesses) == globex
    assert secrets.redact("globex-portal", guesses) == globex
    assert secrets.of("globex-portal", "production").redact(guesses) == guesses.replace(
        "the-workers-own-key", "***"
    )
    assert secrets.redact("never-seen-portal", guesses).startswith("hunter2-of-acme pr0duction own-of-globex")


def test_staging_does_not_learn_productions_secret_by_guessing() -> None:
    """And what an answer says of the whole Project hides both."""
    secrets = _oracle()
    said = "hunter2-of-acme pr0duction"
    assert secrets.of("acme-portal", "staging").redact(said) == "*** pr0duction"
    assert secrets.of("acme-portal", "production").redact(said) == "hunter2-of-acme ***"
    assert secrets.redact("acme-portal", said) == "*** ***"


def test_many_secrets_of_one_project_do_not_make_anothers_forgotten(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, {"UPGRADES_SECRET__ACME_PORTAL__STAGING__HOSTING": "hunter2-of-acme"})
    secrets.of("acme-portal", "staging").resolve("secret:hosting")
    file = tmp_path / "globex-portal" / "staging" / "hosting"
    file.parent.mkdir(parents=True)
    for number in range(HIDDEN_MAX + 10):
        file.write_text(f"value-{number}")
        secrets.of("globex-portal", "staging").resolve("secret:hosting")
    assert secrets.of("acme-portal", "staging").redact("hunter2-of-acme") == "***"
