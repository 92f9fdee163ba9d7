"""Repositories as a partner makes them who wants a worker's disk, memory, time, files or rights.

Each is a bare repository of loose objects, written byte by byte: Git itself refuses to make most of them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
FILE, FOLDER, LINK, SUBMODULE, PROGRAM = "100644", "40000", "120000", "160000", "100755"
Tree = Sequence[tuple[str, bytes, str]]
"""Mode, name and object."""


class Remote:
    """A bare repository in the making; `marker` must never come to be, nor anything in `outside`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "remote.git"
        self.marker = folder / "marker"
        self.outside = folder / "outside"
        self.outside.mkdir(parents=True)
        (self.folder / "refs" / "heads").mkdir(parents=True)
        (self.folder / "objects").mkdir()
        (self.folder / "HEAD").write_text("ref: refs/heads/main\n")
        (self.folder / "config").write_text("[core]\n\tbare = true\n\trepositoryformatversion = 0\n")

    def put(self, kind: str, body: bytes) -> str:
        """An object; its name."""
        data = b"%b %d\0" % (kind.encode(), len(body)) + body
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        path = self.folder / "objects" / name[:2] / name[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(data, 1))
        return name

    def blob(self, body: bytes) -> str:
        return self.put("blob", body)

    def tree(self, entries: Tree) -> str:
        """A tree of these entries in just this order."""
        return self.put(
            "tree", b"".join(b"%b %b\0%b" % (m.encode(), n, bytes.fromhex(o)) for m, n, o in entries)
        )

    def files(self, contents: Mapping[str, bytes], mode: str = FILE) -> str:
        return self.tree([(mode, name.encode(), self.blob(body)) for name, body in sorted(contents.items())])

    def commit(self, tree: str, *parents: str, message: str = "evil") -> str:
        lines = [f"tree {tree}", *(f"parent {one}" for one in parents)]
        lines += [f"{who} m <m@x.example> 1700000000 +0000" for who in ("author", "committer")]
        return self.put("commit", "\n".join([*lines, "", message]).encode())

    def branch(self, commit: str, name: str = "main") -> None:
        path = self.folder / "refs" / "heads" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit + "\n")

    def main(self, tree: str) -> None:
        self.branch(self.commit(tree))

    @property
    def touch(self) -> str:
        """A shell command that must not run."""
        return f"touch {self.marker}"


@dataclass(frozen=True)
class Hostile:
    """How it is made, and the words of the verdict; none when it must do no harm and no more."""

    make: Callable[[Remote], None]
    verdict: str | None = None


def _deep(levels: int) -> Callable[[Remote], None]:
    def make(remote: Remote) -> None:
        below = remote.files({"x": b"x"})
        for _ in range(levels):
            below = remote.tree([(FOLDER, b"d", below)])
        remote.main(below)

    return make


def _tree_bomb(remote: Remote) -> None:
    below = remote.files({"x": b"x"})
    for _ in range(9):
        below = remote.tree([(FOLDER, b"%d" % number, below) for number in range(10)])
    remote.main(below)


def _named(*parts: bytes, mode: str = FILE) -> Callable[[Remote], None]:
    """One file below folders of these names."""

    def make(remote: Remote) -> None:
        tree = remote.tree([(mode, parts[-1], remote.blob(b"[core]\n\tfsmonitor = touch x\n"))])
        for part in reversed(parts[:-1]):
            tree = remote.tree([(FOLDER, part, tree)])
        remote.main(tree)

    return make


def _link_and_folder(remote: Remote) -> None:
    to_outside = remote.blob(str(remote.outside).encode())
    below = remote.files({"stolen": b"x"})
    remote.main(remote.tree([(LINK, b"a", to_outside), (FOLDER, b"a", below)]))


def _configured(text: Callable[[Remote], str]) -> Callable[[Remote], None]:
    def make(remote: Remote) -> None:
        with (remote.folder / "config").open("a") as config:
            config.write(text(remote))
        remote.main(remote.files({".gitattributes": b"* filter=evil diff=evil merge=evil\n", "x": b"x"}))

    return make


def _hooks(remote: Remote) -> None:
    (remote.folder / "hooks").mkdir()
    for name in ("post-checkout", "reference-transaction", "post-update", "pre-auto-gc", "upload-pack"):
        hook = remote.folder / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{remote.touch}\n")
        hook.chmod(0o755)
    remote.main(remote.files({"x": b"x"}))


def _hooks_in_the_tree(remote: Remote) -> None:
    hook = f"#!/bin/sh\n{remote.touch}\n".encode()
    hooks = remote.files({"post-checkout": hook, "post-index-change": hook}, PROGRAM)
    names = {"HEAD": b"ref: refs/heads/main\n", "config": b"[core]\n\tbare = true\n"}
    inner = [(FILE, name.encode(), remote.blob(body)) for name, body in names.items()]
    # A bare repository inside the work tree, as of the attacks on safe.bareRepository.
    remote.main(
        remote.tree([*inner, (FOLDER, b"hooks", hooks), (FOLDER, b"objects", remote.files({"x": b""}))])
    )


def _many_branches(remote: Remote) -> None:
    commit = remote.commit(remote.files({"x": b"x"}))
    (remote.folder / "packed-refs").write_text(
        "".join(f"{commit} refs/heads/b{number:05}\n" for number in range(1500))
    )
    remote.branch(commit)


def _branch_names(remote: Remote) -> None:
    commit = remote.commit(remote.files({"x": b"x"}))
    for name in ("main", "$(touch${IFS}marker)", ";id", "-x", "a`id`b"):
        remote.branch(commit, name)


def _submodule(remote: Remote) -> None:
    modules = (
        f'[submodule "s"]\n\tpath = s\n\turl = ext::sh -c "{remote.touch}"\n\tupdate = !{remote.touch}\n'
    )
    remote.main(
        remote.tree(
            [(FILE, b".gitmodules", remote.blob(modules.encode())), (SUBMODULE, b"s", "1" * 40)],
        )
    )


def _without_a_blob(remote: Remote) -> None:
    remote.main(remote.tree([(FILE, b"x", "2" * 40)]))


def _blob_for_tree(remote: Remote) -> None:
    remote.branch(remote.commit(remote.blob(b"not a tree")))


def _broken_tree(remote: Remote) -> None:
    remote.main(remote.put("tree", b"100644 x\0short"))


def _torn_object(remote: Remote) -> None:
    name = remote.blob(b"whole" * 1000)
    remote.main(remote.tree([(FILE, b"x", name)]))
    path = remote.folder / "objects" / name[:2] / name[2:]
    path.write_bytes(path.read_bytes()[:-6])


def _alternates(remote: Remote) -> None:
    info = remote.folder / "objects" / "info"
    info.mkdir()
    (info / "alternates").write_text(f"{remote.outside}\n/proc/self/root/nowhere\n")
    (info / "http-alternates").write_text("http://169.254.169.254/latest/\n")
    remote.main(remote.files({"x": b"x"}))


def _in_a_pack(make: Callable[[Remote], None]) -> Callable[[Remote], None]:
    def packed(remote: Remote) -> None:
        make(remote)
        subprocess.run(
            ["git", f"--git-dir={remote.folder}", "repack", "-adfq", "--depth=4"],
            check=True,
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"},
        )

    return packed


def _many(
    files: int, body: bytes, of: Callable[[int], bytes] = lambda number: b"f%05d" % number
) -> Callable[[Remote], None]:
    def make(remote: Remote) -> None:
        name = remote.blob(body)
        remote.main(remote.tree([(FILE, of(number), name) for number in range(files)]))

    return make


def _history(commits: int, message: str) -> Callable[[Remote], None]:
    def make(remote: Remote) -> None:
        tree = remote.files({"x": b"x"})
        last: tuple[str, ...] = ()
        for number in range(commits):
            last = (remote.commit(tree, *last, message=f"{number} {message}"),)
        remote.branch(last[0])

    return make


_TOO_LONG = "longer than file systems take"
_INVALID = "does not take what lies in it"
HOSTILE: Mapping[str, Hostile] = {
    "a pack of 18 MiB": Hostile(lambda r: r.main(r.files({"x": os.urandom(18 * MIB)})), "more than 16 MiB"),
    "many packs' worth of files": Hostile(
        lambda r: r.main(r.files({f"x{n}": os.urandom(MIB // 2) for n in range(36)})), "more than 16 MiB"
    ),
    "a thousand branches": Hostile(_many_branches, "more than 1000 files"),
    "a file that expands": Hostile(
        lambda r: r.main(r.files({"x": bytes(64 * MIB)})), "has more to say|files have"
    ),
    "a file that expands, in a pack": Hostile(
        _in_a_pack(lambda r: r.main(r.files({"x": bytes(64 * MIB)}))), "has more to say|files have"
    ),
    "a file that is there many times": Hostile(_many(100, bytes(MIB // 8)), "at most 4 MiB"),
    "many files": Hostile(_many(600, b"x"), "600 files, and at most 500"),
    "a hundred thousand files": Hostile(_many(100_000, b"x"), "has more to say"),
    "a tree that names itself a thousand million times": Hostile(_tree_bomb, "has more to say"),
    "folders 600 deep": Hostile(_deep(600), _TOO_LONG),
    "folders 5,000 deep": Hostile(_deep(5000), "has more to say|lie too deep|" + _TOO_LONG),
    "a name of 300 bytes": Hostile(_named(b"n" * 300), _TOO_LONG),
    "a path of 2,000 bytes": Hostile(_named(*[b"n" * 200] * 10), _TOO_LONG),
    "a message of 3 MiB": Hostile(_history(1, "x" * 3 * MIB), "has more to say"),
    "a long history": Hostile(_history(300, "short")),
    ".git": Hostile(_named(b".git", b"config"), _INVALID),
    ".GIT": Hostile(_named(b".GIT", b"config"), _INVALID),
    "git~1": Hostile(_named(b"git~1", b"config"), _INVALID),
    ".git with a character that is not seen": Hostile(_named(".g\u200cit".encode(), b"config"), _INVALID),
    ".git::$INDEX_ALLOCATION": Hostile(_named(b".git::$INDEX_ALLOCATION", b"config"), _INVALID),
    ".git in a folder": Hostile(_named(b"a", b".git", b"hooks", b"post-checkout", mode=PROGRAM), _INVALID),
    "..": Hostile(_named(b"..", b"outside", b"stolen"), _INVALID),
    ".": Hostile(_named(b".", b"x"), _INVALID),
    "a name with slashes": Hostile(_named(b"../outside/stolen"), _INVALID),
    "a name from the root": Hostile(_named(b"/tmp/stolen-by-a-repository"), _INVALID),
    "no name": Hostile(_named(b""), _INVALID + "|does not take|empty"),
    "a link and a folder of one name": Hostile(_link_and_folder),
    "a link to a file of ours": Hostile(lambda r: r.main(r.tree([(LINK, b"a", r.blob(b"/etc/passwd"))]))),
    "a link of 64 KiB": Hostile(lambda r: r.main(r.tree([(LINK, b"a", r.blob(b"x" * 65536))])), _INVALID),
    "a submodule that runs a program": Hostile(_submodule),
    "hooks of the server": Hostile(_hooks),
    "a repository in the repository": Hostile(_hooks_in_the_tree),
    "a file system monitor": Hostile(
        _configured(
            lambda r: (
                f"[core]\n\tfsmonitor = {r.touch}\n\thooksPath = {r.outside}\n\tsshCommand = {r.touch}\n"
            )
        )
    ),
    "filters and drivers": Hostile(
        _configured(
            lambda r: (
                f'[filter "evil"]\n\tsmudge = {r.touch}\n\tclean = {r.touch}\n'
                f'[diff "evil"]\n\tcommand = {r.touch}\n'
            )
        )
    ),
    "an include": Hostile(_configured(lambda r: f"[include]\n\tpath = {r.outside}/config\n")),
    "a hook of upload-pack": Hostile(
        _configured(
            lambda r: f'[uploadpack]\n\tpackObjectsHook = {r.touch}\n[protocol "ext"]\n\tallow = always\n'
        )
    ),
    "alternates": Hostile(_alternates),
    "names of branches": Hostile(_branch_names),
    "a blob that is not there": Hostile(_without_a_blob, "cannot be used|does not take"),
    "a commit of a blob": Hostile(_blob_for_tree, "does not take"),
    "a tree that is none": Hostile(_broken_tree, "does not take"),
    "an object that is torn": Hostile(_torn_object, "does not take"),
    "names with line ends": Hostile(_named(b"a\nb\tc\\d")),
    "a name that is not UTF-8": Hostile(_named(b"\xff\xfe")),
    "attributes without end": Hostile(
        lambda r: r.main(r.files({".gitattributes": b"* text\n" * 400_000})), "has more to say"
    ),
    "an encoding that makes it longer": Hostile(
        lambda r: r.main(r.files({".gitattributes": b"x working-tree-encoding=UTF-32\n", "x": b"x" * MIB}))
    ),
}
