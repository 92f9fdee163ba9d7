"""A secret is found by its name, and never seen."""

from pathlib import Path

import pytest

from shared.clients.secrets import HIDDEN_MAX, MissingSecret, Secrets


def test_a_file_comes_before_the_variable(tmp_path: Path) -> None:
    environ = {"UPGRADES_SECRET_ACME_HOSTING": "from-variable"}
    assert Secrets(None, environ).resolve("secret:acme-hosting") == "from-variable"
    (tmp_path / "acme-hosting").write_text("from-file\n")
    assert Secrets(tmp_path, environ).resolve("secret:acme-hosting") == "from-file"
    assert Secrets(tmp_path, environ).value("plain") == "plain"


def test_a_missing_secret_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingSecret) as missing:
        Secrets(tmp_path, {}).resolve("secret:acme-hosting")
    assert missing.value.name == "acme-hosting"
    assert str(tmp_path / "acme-hosting") in str(missing.value)
    assert "UPGRADES_SECRET_ACME_HOSTING" in str(missing.value)


@pytest.mark.parametrize("name", ["acme", "secret:", "secret:../etc/passwd", "secret:A", "secret:a/b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="secret:<name>"):
        Secrets(tmp_path, {}).resolve(name)


def test_values_and_url_passwords_are_hidden() -> None:
    secrets = Secrets(None, {"UPGRADES_SECRET_A": "hunter2", "UPGRADES_SECRET_B": "hunter2-and-more"})
    for name in ("secret:a", "secret:b"):
        secrets.resolve(name)
    assert secrets.redact("x hunter2-and-more y hunter2") == "x *** y ***"
    assert secrets.redact("postgresql://app:s3cret@db/x and y@z") == "postgresql://app:***@db/x and y@z"
    assert "hunter2" not in repr(secrets)


def test_the_password_of_a_url_is_hidden_wherever_it_is_printed() -> None:
    secrets = Secrets(None, {"UPGRADES_SECRET_DB": "postgresql://app:s3%23cret@db/x"})
    secrets.resolve("secret:db")
    assert secrets.redact("login s3#cret or s3%23cret, not s3#crets") == "login *** or ***, not s3#crets"
    assert secrets.redact("at postgresql://app:s3%23cret@other/y") == "at postgresql://app:***@other/y"


def test_a_credential_that_changes_for_years_is_hidden_and_fills_nothing(tmp_path: Path) -> None:
    secrets, file = Secrets(tmp_path, {}), tmp_path / "hosting"
    for number in range(2 * HIDDEN_MAX):
        file.write_text(f"postgresql://app:word-{number}@db/acme")
        assert secrets.resolve("secret:hosting") == secrets.resolve("secret:hosting")
        assert number % 50 or secrets.redact(f"it is word-{number}") == "it is ***"
    hidden = [
        secrets.redact(f"it is word-{number}") == "it is ***" for number in range(0, 2 * HIDDEN_MAX, 50)
    ]
    assert hidden == sorted(hidden), "the oldest are forgotten, and the newest are not"
    assert sum(hidden) == HIDDEN_MAX // 50
