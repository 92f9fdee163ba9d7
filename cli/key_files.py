"""Writing files of keys: a new one never over another, and a changed one whole or not at all."""

import os
from pathlib import Path

from shared.errors import conflict, invalid


def write_new(path: Path, written: str, mode: int) -> None:
    """Raises `Reject` when it cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise invalid(
            f"{path} cannot be made: {error.strerror}",
            field="--out",
            cure="name a file in a folder that is there and that you may write to",
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(written)


def require_absent(*paths: Path) -> None:
    """Raises `Reject` when one of them is there."""
    for path in paths:
        if path.exists() or path.is_symlink():
            raise conflict(
                f"{path} is there already, and a key is never overwritten",
                field="--out",
                cure="name another file, or move this one away once nobody needs it",
            )


def replace_file(path: Path, written: str) -> None:
    """A reader sees the old file or the new one; its owner and mode stay. Raises OSError."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(written, encoding="utf-8")
    aside.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
    aside.replace(path)
