"""Files with rows of production and partners' code, which no other user of the machine may read."""

import os
from pathlib import Path

_OWNER_ALONE = 0o077
FOLDER_MODE = 0o700


def keep_files_private() -> None:
    """From now on nobody but this process's user reads what it makes, or what a program makes that it starts.

    Commands of Projects are not among these: their launcher has a mask of its own.
    """
    os.umask(_OWNER_ALONE)


def private_folder(folder: Path) -> Path:
    """Make a folder that its owner alone may look into; one that is there keeps its mode."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return folder
