"""Files with rows of production and partners' code, which no other user of the machine may read."""

import os
import stat
from pathlib import Path

_OWNER_ALONE = 0o077
FOLDER_MODE = 0o700
FILE_MODE = 0o600


def keep_files_private() -> None:
    """From now on nobody but this process's user reads what it makes, or what a program makes that it starts.

    Commands of Projects are not among these: their launcher has a mask of its own.
    """
    os.umask(_OWNER_ALONE)


def private_folder(folder: Path) -> Path:
    """Make a folder that its owner alone may look into; one that is there keeps its mode."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return folder


def private_folders(root: Path, folder: Path) -> None:
    """Make the folders from below `root` to `folder`, and close those that others could look into."""
    for each in reversed([folder, *folder.parents]):
        if each.is_relative_to(root) and each != root:
            each.mkdir(mode=FOLDER_MODE, exist_ok=True)
            keep_private(each)


def keep_private(path: Path) -> None:
    """Take away what others may do with a file or folder of ours; another user's is left as it is."""
    seen = path.stat()
    if seen.st_uid == os.geteuid() and stat.S_IMODE(seen.st_mode) & _OWNER_ALONE:
        path.chmod(FOLDER_MODE if stat.S_ISDIR(seen.st_mode) else FILE_MODE)
