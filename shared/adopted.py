"""`adopted.toml` beside the migrations: which migrations of which Systems a Project had before we knew it.

What a Run installs says so in the migration's own folder. The folders that a Project was adopted with stay as
they are, and one of them may hold several migrations, or a part of one.
"""

import tomlkit
from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.values import Digest, SystemName
from shared.declarations import read_toml

_BYTES_MAX = 1 << 20
_HEAD = "# The Systems' migrations that this Project had when it was adopted, and the folder that has each.\n"


class Adopted(BaseModel):
    """One migration of a System; `folder` is empty where a maintainer's word says that it is applied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: SystemName
    name: str = Field(min_length=1)
    checksum: Digest
    folder: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    migration: tuple[Adopted, ...] = ()


def read_adopted(text: str, file: str) -> tuple[Adopted, ...]:
    """Raises `Reject` with every mistake in `file`."""
    # A row of five lines for each migration of a long history.
    return read_toml(text, _File, file=file, bytes_max=_BYTES_MAX, nul=True).migration


def write_adopted(migrations: tuple[Adopted, ...]) -> str:
    """The text of the file."""
    return _HEAD + "".join(
        "\n[[migration]]\n"
        + "".join(
            f"{name} = {tomlkit.item(value).as_string()}\n"
            for name, value in each.model_dump().items()
            if value
        )
        for each in migrations
    )
