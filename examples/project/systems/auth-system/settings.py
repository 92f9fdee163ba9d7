"""What the Project set in config/auth-system.toml."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[2] / "config" / "auth-system.toml"


@cache
def read() -> dict[str, Any]:
    """Every key with its value; the file always holds all defaults."""
    return tomllib.loads(CONFIG.read_text(encoding="utf-8"))
