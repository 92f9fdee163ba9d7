"""One call of the git program, with settings of our own only and a deadline."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.clients.git_limits import RepositoryBroken, fault_of, git_limits
from shared.clients.git_renewal import CloneUnusable, own_fault, suspect
from shared.clients.git_verdicts import answer
from shared.clients.processes import DeadlineExceeded, Finished, run_trusted
from shared.clients.secrets import without_passwords
from shared.errors import Failure, Retry

LOCAL_DEADLINE_S = 120.0
REMOTE_DEADLINE_S = 300.0
_WORDS_CHARACTERS = 2000
_SAID_BYTES = 64 << 10
_HANDED_ON = ("PATH",)
_REMOTE = frozenset({"fetch", "ls-remote", "push"})
_OURS = {
    # Nothing of the worker's user is read: `git_access` gives what reaches a remote.
    "HOME": "/nonexistent",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_PROTOCOL_FROM_USER": "0",
    "LC_ALL": "C.UTF-8",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_AUTHOR_NAME": "upgradepath",
    "GIT_AUTHOR_EMAIL": "upgradepath@localhost",
    "GIT_COMMITTER_NAME": "upgradepath",
    "GIT_COMMITTER_EMAIL": "upgradepath@localhost",
}
_SETTINGS = (
    # A Project's hooks must not run in our process.
    "core.hooksPath=/dev/null",
    "core.autocrlf=false",
    "core.quotePath=false",
    "core.fsmonitor=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.askPass=",
    "credential.helper=",
    "http.followRedirects=false",
    "submodule.recurse=false",
    "protocol.ext.allow=never",
    "merge.renames=true",
    "commit.gpgSign=false",
    # Whether local paths are taken at all, GIT_ALLOW_PROTOCOL says.
    "protocol.file.allow=always",
    # Objects that only a Run's worker knows of would be swept away under it.
    "gc.auto=0",
    # A power cut leaves empty what was not brought to the disk, and no fetch brings it again.
    "core.fsync=objects,derived-metadata",
    # What is mapped counts as memory, and what is large goes through in pieces.
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=256m",
    "core.bigFileThreshold=16m",
    "pack.threads=2",
    # A server that sends a byte a second would keep a place for as long as it likes.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "maintenance.auto=false",
)


async def git(
    folder: Path,
    *arguments: str,
    deadline_s: float = LOCAL_DEADLINE_S,
    stdin: bytes | None = None,
    variables: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
    work_tree: Path | None = None,
) -> Finished:
    """Run git on the bare repository `folder`; standard output and error come separately, as bytes.

    With `work_tree` it works there, as in a checkout.

    Raises `Failure` when the repository is more than `git_limits` takes, or is broken, and when the remote
    refuses what only its keeper can allow; `Retry`, with Git's words, for another exit code that is not in
    `accept` and for a deadline; `CloneUnusable` where files of the clone itself are damaged.
    """
    limits = git_limits()
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ} | _OURS
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    place = [] if work_tree is None else ["-C", str(work_tree), "-c", "core.bare=false"]
    if work_tree is not None:
        environment |= {"GIT_WORK_TREE": str(work_tree)}
    argv = ["git", f"--git-dir={folder}", *settings, *place, *arguments]
    try:
        finished = await run_trusted(
            argv,
            cwd=folder,
            environment=environment | dict(variables or {}),
            deadline_s=deadline_s,
            stdin=stdin,
            output_bytes_max=limits.read_bytes,
            separate=True,
            limits=limits.of_a_process,
            printed_bytes_max=limits.read_bytes,
        )
    except DeadlineExceeded as exceeded:
        late = f"git {arguments[0]} did not end within {exceeded.deadline_s:g} s"
        raise (answer(late, "timed out") if arguments[0] in _REMOTE else Retry(late)) from None
    # Git says so also where it goes on and takes an object for missing.
    if finished.exit_code != 0 or arguments[0] not in _REMOTE:
        own = own_fault(folder, arguments[0], finished.stderr[-_SAID_BYTES:].decode(errors="replace"))
        if own is not None:
            raise own
    if finished.exit_code in accept and finished.exceeded is None:
        return finished
    fault = fault_of(arguments[0], finished, limits)
    if isinstance(fault, RepositoryBroken) and arguments[0] not in _REMOTE and suspect(folder):
        raise CloneUnusable(str(fault), *fault.outcome.findings)
    raise fault or failed(arguments[0], finished)


def failed(command: str, finished: Finished) -> Failure | Retry:
    """The error for a call of git that did not do its work; of the remote, whom it concerns."""
    # A remote may print as much as it likes: the end says why.
    words = finished.output[-_SAID_BYTES:].strip() or "it said nothing"
    if command == "push":
        words = _without_hooks(words)
    said = f"git {command} ended with {finished.exit_code}: {without_passwords(words[-_WORDS_CHARACTERS:])}"
    return answer(said, finished.output) if command in _REMOTE else Retry(said)


def _without_hooks(words: str) -> str:
    """What Git says, without what the server's hooks print: nobody knows what they look at."""
    # Git begins each line of theirs so. Other ends of lines than this one it leaves inside.
    lines = words.split("\n")
    kept = [line for line in lines if not line.startswith("remote:")]
    if len(kept) < len(lines):
        left_out = len(lines) - len(kept)
        kept.append(f"{left_out} lines of the server's hooks are left out; a push by hand shows them")
    return "\n".join(kept)
