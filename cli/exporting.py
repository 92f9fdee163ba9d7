"""Exported papers: what a service signed, kept in a file to be verified offline."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import say
from shared.errors import conflict, invalid

OutFolder = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", exists=True, file_okay=False, help="Gets the files; else here."),
]


def keep(folder: Path, name: str, data: bytes) -> None:
    """Write a new file, and say so. Raises `Reject` for one that is there with other bytes."""
    path = folder / name
    try:
        if path.exists() and path.read_bytes() == data:
            say(f"{path} is there already")
            return
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise conflict(
            f"{path} is there already, with other bytes",
            field="--out",
            cure="name another folder, or move the file away",
        ) from error
    except OSError as error:
        raise invalid(
            f"{path}: {error.strerror}", field="--out", cure="name a folder that you may write to"
        ) from error
    say(f"wrote {path}")
