"""A package as people name it: its folder, or its .tar.gz."""

from pathlib import Path
from typing import Annotated

import typer

from shared.packages.archive import pack_folder
from shared.packages.package import Package, read_package

PackageArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER|TAR", exists=True, readable=True, help="A package's folder, or its .tar.gz."
    ),
]


def open_package(path: Path) -> tuple[bytes, Package]:
    """The package's bytes and what is in them. Raises `Reject` with every problem."""
    data = pack_folder(path) if path.is_dir() else path.read_bytes()
    return data, read_package(data)
