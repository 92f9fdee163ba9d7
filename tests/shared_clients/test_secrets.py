"""A secret is found by its name within its scope, and never seen."""

from pathlib import Path

import pytest

from shared.clients.secrets import HIDDEN_MAX, MissingSecret, ScopedSecrets, Secrets

VARIABLE = "UPGRADES_SECRET__ACME_PORTAL__STAGING__ACME_HOSTING"


def staging(folder: Path | None, environ: dict[str, str]) -> ScopedSecrets:
    return Secrets(folder, environ).of("acme-portal", "staging")


def kept(folder: Path, name: str, value: str) -> Path:
    file = folder / "acme-portal" / "staging" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value)
    return file


def test_a_file_comes_before_the_variable(tmp_path: Path) -> None:
    environ = {VARIABLE: "from-variable"}
    assert staging(None, environ).resolve("secret:acme-hosting") == "from-variable"
    kept(tmp_path, "acme-hosting", "from-file\n")
    assert staging(tmp_path, environ).resolve("secret:acme-hosting") == "from-file"
    assert staging(tmp_path, environ).value("plain") == "plain"


def test_a_missing_secret_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingSecret) as missing:
        staging(tmp_path, {}).resolve("secret:acme-hosting")
    assert missing.value.name == "acme-hosting"
    assert str(tmp_path / "acme-portal" / "staging" / "acme-hosting") in str(missing.value)
    assert VARIABLE in str(missing.value)


@pytest.mark.parametrize("name", ["acme", "secret:", "secret:../etc/passwd", "secret:A", "secret:a/b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="secret:<name>"):
        staging(tmp_path, {}).resolve(name)


def test_values_and_url_passwords_are_hidden() -> None:
    prefix = "UPGRADES_SECRET__ACME_PORTAL__STAGING__"
    secrets = staging(None, {f"{prefix}A": "hunter2", f"{prefix}B": "hunter2-and-more"})
    for name in ("secret:a", "secret:b"):
        secrets.resolve(name)
    assert secrets.redact("x hunter2-and-more y hunter2") == "x *** y ***"
    assert secrets.redact("postgresql://app:s3cret@db/x and y@z") == "postgresql://app:***@db/x and y@z"
    assert "hunter2" not in repr(secrets)


def test_the_password_of_a_url_is_hidden_wherever_it_is_printed() -> None:
    secrets = staging(None, {VARIABLE: "postgresql://app:s3%23cret@db/x"})
    secrets.resolve("secret:acme-hosting")
    assert secrets.redact("login s3#cret or s3%23cret, not s3#crets") == "login *** or ***, not s3#crets"
    assert secrets.redact("at postgresql://app:s3%23cret@other/y") == "at postgresql://app:***@other/y"


def test_a_credential_that_changes_for_years_is_hidden_and_fills_nothing(tmp_path: Path) -> None:
    secrets, file = staging(tmp_path, {}), kept(tmp_path, "hosting", "")
    for number in range(2 * HIDDEN_MAX):
        file.write_text(f"postgresql://app:word-{number}@db/acme")
        assert secrets.resolve("secret:hosting") == secrets.resolve("secret:hosting")
        assert number % 50 or secrets.redact(f"it is word-{number}") == "it is ***"
    hidden = [
        secrets.redact(f"it is word-{number}") == "it is ***" for number in range(0, 2 * HIDDEN_MAX, 50)
    ]
    assert hidden == sorted(hidden), "the oldest are forgotten, and the newest are not"
    assert sum(hidden) == HIDDEN_MAX // 50
