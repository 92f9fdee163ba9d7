"""What is fetched or made once and kept outside the repository."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """`UPGRADES_CACHE`, else `~/.cache/upgradepath`; it need not exist yet."""
    named = os.environ.get("UPGRADES_CACHE")
    return (Path(named) if named else Path.home() / ".cache" / "upgradepath").absolute()


def keep(path: Path, data: bytes) -> None:
    """Write a file in one step: another process sees all of it or nothing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".keep-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    # An image is built by one user and run by another.
    Path(name).chmod(0o644)
    Path(name).replace(path)
