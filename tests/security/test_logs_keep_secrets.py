"""A log line says what went wrong, and neither a password nor a token of anybody."""

import logging

from shared.telemetry.logs import RedactingFormatter
from tests.security.token_attacks import claims, signed


def line(message: str, error: BaseException | None = None) -> str:
    """The line of a record, as a service writes it."""
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s", (message,), info)
    return RedactingFormatter("%(message)s").format(record)


def broken(url: str, token: str) -> BaseException:
    inner, outer = ValueError(f"cannot connect to {url}"), RuntimeError("the stage broke")
    inner.add_note(f"sent with {token}")
    outer.__cause__ = inner
    return outer


def test_neither_a_password_nor_a_token_stands_in_a_line() -> None:
    """Would catch a secret that a driver's error quotes, in its words, its cause or its notes."""
    url, token = "postgresql://acme:hunter2-secret@db.example/acme", signed(claims())
    text = line(f"GET {url} with Bearer {token}, and {token}", broken(url, token))
    assert "hunter2-secret" not in text
    assert token.rpartition(".")[2] not in text
    assert token.split(".")[1] not in text
    assert "postgresql://" in text
    assert "the stage broke" in text


def test_ordinary_lines_stay_as_they_are() -> None:
    """Would catch a filter that takes out what an operator needs."""
    for words in ("eyJ is how they begin", "https://git.example/acme/portal.git", "1.2.3 of auth-system"):
        assert line(words) == words


def test_a_row_of_several_lines_is_left_out_whole() -> None:
    """Would catch what follows the first line break in a value that an error quotes."""
    row = "ann@example.org\nhunter2-secret\n\nlast"
    said = f"duplicate key\nDETAIL:  Key (note)=({row}) already exists."
    for after in ("", "\nHINT:  look", "\n[SQL: insert]", "\n\nThe above exception was the cause"):
        text = line(f"{said}{after}\nDETAIL:  {row}")
        assert "hunter2" not in text
        assert "last" not in text
        assert text.startswith("duplicate key\nDETAIL:  ***")
        assert after in text
