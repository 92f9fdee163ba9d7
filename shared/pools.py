"""Worker pools, as settings name them."""

import re
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


def read_names(given: object) -> tuple[str, ...]:
    """`acme, globex` as names, each once. Raises ValueError for what is not a name."""
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list | tuple):
        raise ValueError("give the names with commas between them")  # noqa: TRY004
    found = dict.fromkeys(str(name).strip() for name in names if str(name).strip())
    wrong = [name for name in found if not _NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"not a name: {wrong[0]!r}; a name is of small letters, digits and hyphens")
    return tuple(found)


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_names)]
"""Names with commas between them."""


class PoolSettings(BaseSettings):
    """Which pools there are, for whoever makes and looks at topics: `UPGRADES_POOLS`."""

    model_config = SettingsConfigDict(env_prefix="UPGRADES_", frozen=True, extra="ignore")

    pools: Names = ()
