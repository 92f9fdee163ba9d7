"""What a forge calls one repository, whichever of its spellings was written.

Forges give the same repository other paths over https and over ssh. Where nobody can tell two repositories
apart by their spelling, they count as the same: a second Project is refused, and says which one has it.
"""

from collections.abc import Callable
from typing import Final

_AZURE, _AZURE_SSH, _VISUAL_STUDIO = "dev.azure.com", "ssh.dev.azure.com", ".visualstudio.com"
_OF_AZURE = ("_git", "_ssh", "_full", "_optimized", "defaultcollection")
_LEADING: Final = frozenset(
    ("scm", "git", "a", "r", "tfs", "cgit", "gitweb", "gerrit", "gitlab", "gitea", "stash", "bitbucket")
)
"""Folders under which servers offer over https what lies at the root over ssh: Bitbucket's, Gerrit's."""
_PLAIN: Final = frozenset(("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht"))
"""Hosts of many that are known to have no such folder: there it is somebody's name."""
_DOORS = ("www.", "ssh.", "altssh.", "vs-ssh.")
"""Names under which hosts offer the same repositories once more."""


def one_spelling(host: str, path: str, user: str | None, *, is_name: Callable[[str], bool]) -> str:
    """`host/path` as every spelling of this repository has it; both are in small letters already.

    `is_name` tells a host's name from an address, which has no other names.
    """
    parts = [part for part in path.split("/") if part]
    if host in (_AZURE, _AZURE_SSH) or host.endswith(_VISUAL_STUDIO):
        return _of_azure(host, parts)
    for door in _DOORS:
        if is_name(host) and "." in host.removeprefix(door):
            host = host.removeprefix(door)
    if "_git" in parts or "_ssh" in parts:
        parts = _after_tfs(parts)
    elif host not in _PLAIN:
        parts = _from_home(parts, user)
        while len(parts) > 1 and parts[0] in _LEADING:
            parts = parts[1:]
    return "/".join((host, *parts))


def _of_azure(host: str, parts: list[str]) -> str:
    """Azure DevOps, formerly Visual Studio Team Services: organisation, project and repository."""
    if parts and parts[0] == "v3":
        parts = parts[1:]
    elif host.endswith(_VISUAL_STUDIO) and not host.startswith("vs-ssh."):
        parts = [host.removesuffix(_VISUAL_STUDIO), *parts]
    named = [part for part in parts if part not in _OF_AZURE]
    # A project's first repository has its name, which may then be left out.
    return "/".join((_AZURE, *(named if len(named) != 2 else [*named, named[1]])))


def _after_tfs(parts: list[str]) -> list[str]:
    """The same on a server of one's own, which may have the folder `tfs`."""
    named = [part for part in parts if part not in _OF_AZURE]
    named = named[1:] if len(named) > 1 and named[0] == "tfs" else named
    return [*named, named[-1]] if parts[-2:-1] in (["_git"], ["_ssh"]) and len(named) == 2 else named


def _from_home(parts: list[str], user: str | None) -> list[str]:
    """Without the home of the ssh user, where a path without a slash before it begins."""
    if len(parts) > 1 and parts[0] == "~":
        return parts[1:]
    if user is None:
        return parts
    name = user.casefold()
    if len(parts) > 1 and parts[0] == f"~{name}":
        return parts[1:]
    if len(parts) > 2 and parts[0] == "home" and parts[1] == name:
        return parts[2:]
    return parts
