"""Who is asked about what Git says of a remote, and with which cure. Pure.

Git has one exit code for nearly all of it (128; 1 for a push that was refused), so its words are read. They
are those of LC_ALL=C, which `git_command` sets.
"""

import re
from dataclasses import dataclass

from shared.contracts.stages import Finding
from shared.errors import Failure, Retry


@dataclass(frozen=True)
class GitVerdict:
    """`said` is what is looked for in Git's words. `passes`: tried again before the maintainer is asked.

    `ours` is a fault of the worker, for which an SRE is asked.
    """

    name: str
    said: re.Pattern[str]
    cure: str
    passes: bool = False
    ours: bool = False


def _verdict(name: str, cure: str, *said: str, passes: bool = False, ours: bool = False) -> GitVerdict:
    return GitVerdict(name, re.compile("|".join(said), re.IGNORECASE | re.MULTILINE), cure, passes, ours)


# The address of a repository is anybody's words, and none of Git's.
_ADDRESS = re.compile(r"\b(?:https?|ssh|git|file)://\S+", re.IGNORECASE)
_HALF_CHARACTERS = 8_000
_UNREACHABLE = (
    "unreachable",
    "see whether the repository's host is up and the worker may reach it, then retry the stage",
)
_DAMAGED = ("damaged", "run git fsck at the repository and mend what it names, then retry the stage")
_RACE = ("not fast-forward", "somebody pushed meanwhile: retry the stage")

# Of the remote's own lines first: the same words without them are of the worker.
VERDICTS: tuple[GitVerdict, ...] = (
    _verdict(
        "host is full",
        "make room at the repository's host, or raise the quota, then retry the stage",
        r"remote: .{0,300}(no space left|disk quota|quota exceeded)",
        r"exceed the allocated storage|exceeded its size limit|over its data quota|storage limit",
    ),
    _verdict(
        "read-only",
        "let the host take pushes again, or register the Project with the address to which it moved",
        "archived so it is read-only|read-only (gitlab|mode|instance)",
        r"remote: .{0,300}read-only file system",
    ),
    _verdict(
        *_DAMAGED,
        "(object|pack(file)?) .{0,300}is corrupt|object file .{0,300} is empty|inflate: ",
        "unable to unpack .{0,300} header",
        "bad object|missing (blob|tree|commit)|upload-pack: not our ref",
    ),
    # What a hook prints of its own troubles is a hook's.
    _verdict(*_UNREACHABLE, r"^(?!remote:).{0,300}(could(n't| not) resolve|timed? ?out)", passes=True),
    _verdict(
        "pack too large",
        "raise the host's limit of a push, or take the large files out of the release or into LFS",
        "pack exceeds maximum",
        "exceeds .{0,300}file size limit",
        "returned error: 413|HTTP 413|request entity too large",
        "GH001",
    ),
    _verdict(
        "hook declined",
        "let the credential's user push upgrade/*, refs/upgradepath/* and the production branch past the"
        " host's hooks; a push by hand shows what they print",
        "hook declined|GH007|GH009|email privacy|secrets detected|cannot contain secrets|missing change-id",
    ),
    _verdict(
        "checked out",
        "register a bare repository, or check another branch out in the one that is pushed to",
        "refusing to (update checked out|delete the current) branch",
        "is currently checked out",
    ),
    _verdict(
        "protected branch",
        "let the credential's user push to the branch: name it in the host's protection rule",
        "protected branch|GH006|GH013",
        "not allowed to push|prohibited by Gerrit",
        "deny(ing)? (updating|creating|deleting|non-fast)|deletion prohibited|TF40(?!1019)[0-9]+",
        "repository rule violations|branch is restricted|protected from push",
        "default branch .{0,60}does not yet exist",
    ),
    _verdict(
        "shallow",
        "give the repository its whole history: git fetch --unshallow at the remote",
        "shallow update not allowed|shallow file has changed",
    ),
    _verdict(
        *_RACE,
        r"cannot lock ref .{0,300}(is at \w+ but expected|reference already exists|\.lock': File exists)",
        passes=True,
    ),
    _verdict(
        "ref name conflict",
        "delete or rename the branch whose name is in the way, then retry the stage",
        "cannot lock ref|directory file conflict|refname conflict",
        "unable to resolve reference|failed to update ref",
    ),
    _verdict(
        *_RACE,
        r"non-fast-forward|fetch first|stale info|\[rejected\]",
        passes=True,
    ),
    _verdict(
        "denied",
        "give the Project a credential that may read and push, or correct the one that it names",
        "authentication failed|could not read (username|password)|not authorized",
        "permission denied|access denied|publickey|permission to .{0,300} denied|insufficient permission",
        "marked as read only|access over .{0,30}is not allowed|too many authentication failures",
        "unable to update url base from redirection",
        "returned error: 40[13]|HTTP 40[13]",
    ),
    _verdict(*_UNREACHABLE, "unexpected eof while reading|eof before pack header", passes=True),
    _verdict(
        "certificate",
        "correct the host's certificate or key, or let the worker's operator trust it",
        "server certificate|certificate (problem|verif|has expired)|SSL (certificate|connect|routines)",
        "no alternative certificate|no matching (host key|cipher|key exchange|mac)",
        "host key verification failed|no .{0,300} host key is known",
    ),
    _verdict(
        "worker is full",
        "give the worker's folder more room",
        "no space left|disk quota|cannot allocate|out of memory|too many open files",
        passes=True,
        ours=True,
    ),
    _verdict(
        "branch gone",
        "bring the branch back in the repository, or register the Project with the branch that it has",
        "couldn't find remote ref|src refspec .{0,300} does not match",
    ),
    _verdict(
        "gone",
        "correct the repository's address and register the Project again, or bring the repository back",
        "repository .{0,300}not found|does not appear to be a git repository|not a git repository",
        "returned error: 404|HTTP 404|does not exist|no such (file|repository)",
        "project .{0,60}could not be found",
        "is this a git repository|bad line length character",
    ),
    _verdict(
        "submodule",
        "make the submodule's commit reachable, or take it out of the branch",
        r"(?<![/\w.-])submodules? ('|paths?\b|fetch\b)",
    ),
    _verdict(
        "unsafe owner",
        "let the repository's folder belong to the worker's user",
        "dubious ownership",
    ),
    # A pack that was cut off on its way looks like a damaged one.
    _verdict(*_UNREACHABLE, "early EOF|hung up|RPC failed|connection reset|expected flush", passes=True),
    _verdict(
        *_DAMAGED,
        "did not send all necessary objects|unable to read|unpack failed",
        "unpacker error|inflate|corrupt|index-pack failed",
    ),
    _verdict(
        *_UNREACHABLE,
        "could(n't| not) connect|failed to connect|name or service not known|no route",
        "connection (refused|closed)|remote failed to report status|fatal error in commit_refs",
        "currently unable to handle|try again later",
        r"returned error: (5\d\d|429)|HTTP (5\d\d|429)|network is unreachable|unable to access",
        passes=True,
    ),
)
UNKNOWN = _verdict(
    "unknown", "read what Git says, mend it at the repository or its host, then retry", "", passes=True
)


def verdict_of(words: str) -> GitVerdict:
    """The first that its words speak of: of much that a remote prints, its beginning and its end."""
    if len(words) > 2 * _HALF_CHARACTERS:
        words = f"{words[:_HALF_CHARACTERS]}\n{words[-_HALF_CHARACTERS:]}"
    said = _ADDRESS.sub("URL", words)
    return next((each for each in VERDICTS if each.said.search(said)), UNKNOWN)


def answer(reason: str, words: str) -> Failure | Retry:
    """What a stage answers whose call of the remote failed; `words` are all that Git said."""
    verdict = verdict_of(words)
    if verdict.ours:
        return Retry(reason)
    finding = Finding(kind="environment", subject="repository", detail=reason, cure=verdict.cure)
    return Retry(reason, finding) if verdict.passes else Failure(reason, finding)
