"""Merges and checkouts against the partner's own Git: `git merge` in a work tree, and `git clone`."""

import os
import random
import re
import subprocess
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clients.git import Entry, Git, Labels
from shared.clients.line_ends import ends_of, with_ends_of, with_unix_ends
from tests.support.scopes import LOCAL

LABELS = Labels(ours="ours", theirs="theirs")
LINES = [f"line {number}" for number in range(12)]
ATTRIBUTES = {
    ".gitattributes": b"*.lock -merge\n*.log merge=union\n*.win text eol=crlf\n*.bin binary\n"
    b"*.big conflict-marker-size=20\n",
    "deep/down/.gitattributes": b"*.txt merge=union\n*.log !merge\n",
}
NAMES = ("f.txt", "f.lock", "f.log", "f.win", "f.bin", "f.big", "deep/down/f.txt", "deep/down/f.log")


def git(folder: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> bytes:
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@acme.example", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", *settings, *arguments], cwd=folder, capture_output=True, check=False)
    assert done.returncode in accept, done.stderr.decode() + done.stdout.decode()
    return done.stdout


def edited(chance: random.Random, lines: list[str]) -> list[str]:
    """A few lines changed, gone or new."""
    found = list(lines)
    for _ in range(chance.choice((0, 1, 1, 2))):
        at = chance.randrange(len(found))
        found[at : at + 1] = chance.choice(([f"changed {chance.random()}"], [], [found[at], "new"]))
    return found


def text(chance: random.Random, lines: list[str], ends: str) -> bytes:
    last = chance.choice(("", "\n", "\n", "\n"))
    data = "\n".join(lines).encode() + last.encode()
    return data.replace(b"\n", b"\r\n") if ends == "crlf" else data


async def committed(clone: Git, files: dict[str, bytes | Entry | None], parents: list[str]) -> str:
    return await clone.commit(await clone.tree_with(None, files), parents, "it", when=1)


async def a_clone(folder: Path) -> Git:
    git(folder, "init", "-q", "--bare", "-b", "main", "remote.git")
    return await Git.open(str(folder / "remote.git"), folder / "clone", LOCAL)


@pytest.mark.parametrize("seed", range(3))
async def test_a_merge_is_what_git_merge_makes_or_a_conflict_of_ends_less(tmp_path: Path, seed: int) -> None:
    """Sixty-four files of every attribute and mode in one merge; both sides edit, or turn the ends around."""
    chance = random.Random(seed)
    clone = await a_clone(tmp_path)
    sides: list[dict[str, bytes | Entry | None]] = [dict(ATTRIBUTES) for _ in range(3)]
    for number in range(64):
        folder, _, name = chance.choice(NAMES).rpartition("/")
        path = f"{folder}/{number}{name}".lstrip("/")
        for side, lines in zip(sides, (LINES, edited(chance, LINES), edited(chance, LINES)), strict=True):
            # Git itself stumbles over a file that is not as its attributes say.
            ends = "lf" if name.endswith("win") else chance.choice(("lf", "lf", "lf", "crlf"))
            (blob,) = await clone.write([text(chance, lines, ends)])
            side[path] = Entry(chance.choice(("100644", "100644", "100755")), blob)
    base = await committed(clone, sides[0], [])
    ours, theirs = [await committed(clone, side, [base]) for side in sides[1:]]
    await clone.push([("refs/heads/main", ours, None), ("refs/heads/theirs", theirs, None)])
    merge = await clone.merge_commits(ours, theirs, LABELS)

    git(tmp_path, "clone", "-q", "remote.git", "partner")
    partner = tmp_path / "partner"
    git(partner, "merge", "-q", "--no-edit", "origin/theirs", accept=(0, 1))
    clean, disputed = {}, set()
    for line in git(partner, "ls-files", "-s", "-z").decode().split("\0")[:-1]:
        about, path = line.split("\t")
        mode, blob, stage = about.split(" ")
        if stage == "0":
            clean[path] = Entry(mode, blob)
        else:
            disputed.add(path)
    found = await clone.paths(merge.tree)
    assert {path: found.get(path) for path in clean} == clean
    ours_disputed = {each.path for each in merge.conflicts}
    assert ours_disputed <= disputed
    entries = [entry for side in sides for entry in side.values() if isinstance(entry, Entry)]
    blobs = await clone.blobs([entry.blob for entry in (*entries, *found.values())])
    decided = disputed - ours_disputed
    assert decided
    for path in decided:
        texts = [blobs[entry.blob] for side in sides if isinstance(entry := side[path], Entry)]
        assert len({ends_of(each) for each in texts}) > 1, f"{path} was disputed for its lines"
        assert ends_of(blobs[found[path].blob]) != "mixed"
    marked = [path for path in ours_disputed if b"<<<<<<< " in blobs[found[path].blob]]
    hunks = {each.path: each.hunk for each in merge.conflicts}
    assert marked
    assert all("<<<<<<< " in hunks[path] for path in marked)


async def test_a_checkout_is_what_a_clone_gives(tmp_path: Path) -> None:
    clone = await a_clone(tmp_path)
    (link,) = await clone.write([b"a.txt"])
    (tool,) = await clone.write([b"#!/bin/sh\n"])
    head = await committed(
        clone,
        {
            ".gitattributes": b"*.bat text eol=crlf\n*.c ident\n*.ps1 working-tree-encoding=UTF-16LE\n"
            b"*.none filter=nobody\ndocs export-ignore\n*.v export-subst\n[attr]win text eol=crlf\n",
            "deep/.gitattributes": b"*.txt win\n*.bat -text\n",
            ".upgradepath-index": b"theirs\n",
            "run.bat": b"one\ntwo\n",
            "deep/run.bat": b"one\ntwo\n",
            "deep/a.txt": b"one\ntwo\n",
            "main.c": b"/* $Id$ */\n",
            "x.ps1": "Grüße\n".encode(),
            "x.none": b"as it is\n",
            "mixed.txt": b"one\r\ntwo\n",
            "docs/a.txt": b"docs\n",
            "x.v": b"$Format:%H$\n",
            "a.txt": b"",
            "link": Entry("120000", link),
            "tool": Entry("100755", tool),
        },
        [],
    )
    await clone.push([("refs/heads/main", head, None)])
    git(tmp_path, "clone", "-q", "remote.git", "partner")
    await clone.export(head, tmp_path / "checkout")
    assert _files(tmp_path / "checkout") == _files(tmp_path / "partner")
    assert (tmp_path / "checkout" / "run.bat").read_bytes() == b"one\r\ntwo\r\n"


def _files(folder: Path) -> dict[str, tuple[bool, bytes]]:
    return {
        str(path.relative_to(folder)): (os.access(path, os.X_OK), os.readlink(path).encode())
        if path.is_symlink()
        else (os.access(path, os.X_OK), path.read_bytes())
        for path in folder.rglob("*")
        if ".git" not in path.relative_to(folder).parts and (path.is_symlink() or path.is_file())
    }


async def test_what_a_checkout_would_lack_is_named_by_kind_with_every_path(tmp_path: Path) -> None:
    clone = await a_clone(tmp_path)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 84977\n".encode()
    tree = await clone.tree_with(
        None,
        {
            ".gitattributes": b"[attr]big filter=lfs -text\n*.png big\n*.key filter=git-crypt\n"
            b"safe.key -filter\n",
            "assets/.gitattributes": b"*.mp4 filter=lfs\n",
            "assets/a.mp4": pointer,
            "logo.png": pointer,
            "small.png": b"\x89PNG\r\n",
            "pointer-in-a-test.txt": pointer,
            "prod.key": b"\0GITCRYPT\0x",
            "safe.key": b"open",
            "vendor/rates": Entry("160000", "1" * 40),
            "vendor/tax": Entry("160000", "2" * 40),
        },
    )
    assert [each.paths for each in await clone.lacking(tree)] == [
        ("vendor/rates", "vendor/tax"),
        ("assets/a.mp4", "logo.png"),
        ("prod.key",),
    ]
    assert await clone.lacking(await clone.tree_with(None, {"logo.png": pointer})) == ()


async def test_the_cure_for_a_submodule_holds_when_it_is_followed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "lib")
    git(tmp_path / "lib", "commit", "-q", "--allow-empty", "-m", "empty")
    (tmp_path / "lib" / "rates.txt").write_text("1\n")
    git(tmp_path / "lib", "add", ".")
    git(tmp_path / "lib", "commit", "-q", "-m", "rates")
    await a_clone(tmp_path)
    git(tmp_path, "clone", "-q", "remote.git", "partner")
    partner = tmp_path / "partner"
    git(partner, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "vendor/lib")
    git(partner, "commit", "-q", "-m", "submodule")
    git(partner, "push", "-q", "origin", "HEAD:main")
    clone = await Git.open(str(tmp_path / "remote.git"), tmp_path / "second", LOCAL)
    (found,) = await clone.lacking(await clone.tree(await clone.head("main") or ""))
    git(partner, "rm", "-q", "vendor/lib")
    git(partner, "commit", "-q", "-m", "no submodule")
    given = re.findall(r"`git (subtree add [^`]+)`", found.cure)
    assert len(given) == 1
    words = {"PATH": "vendor/lib", "URL": str(tmp_path / "lib"), "BRANCH": "main"}
    git(partner, *(reduce(lambda text, word: text.replace(*word), words.items(), given[0])).split())
    git(partner, "push", "-q", "origin", "HEAD:main")
    again = await Git.open(str(tmp_path / "remote.git"), tmp_path / "third", LOCAL)
    assert await again.lacking(await again.tree(await again.head("main") or "")) == ()


@pytest.mark.parametrize("theirs", [None, b"one\r\ntwo\r\n"], ids=["deleted", "other ends alone"])
async def test_a_file_with_other_ends_alone_is_not_edited(tmp_path: Path, theirs: bytes | None) -> None:
    """The package takes a file away that the partner has saved with other ends, or the other way around."""
    clone = await a_clone(tmp_path)
    base = await clone.tree_with(None, {"a.txt": b"one\ntwo\n", "b.txt": b"b"})
    ours = await clone.tree_with(base, {"a.txt": b"one\r\ntwo\r\n" if theirs is None else None})
    merge = await clone.merge(base, ours, await clone.tree_with(base, {"a.txt": theirs}), LABELS)
    assert merge.conflicts == ()
    assert list(await clone.paths(merge.tree)) == ["b.txt"]


async def test_a_new_mode_and_another_place_are_edits_that_a_deletion_would_lose(tmp_path: Path) -> None:
    """The partner made a file executable, or a link; the package takes it away, or makes it a folder."""
    clone = await a_clone(tmp_path)
    lines = "".join(f"line {number}\n" for number in range(12)).encode()
    tool, moved, link = await clone.write([lines, b"other\n" + lines, b"elsewhere"])
    base = await clone.tree_with(None, {"tool": Entry("100644", tool), "place": Entry("100644", moved)})
    ours = await clone.tree_with(None, {"tool": Entry("100755", tool), "place": Entry("120000", link)})
    theirs = await clone.tree_with(None, {"place/inside": Entry("100644", moved)})
    merge = await clone.merge(base, ours, theirs, LABELS)
    assert {"tool", "place/inside"} <= {each.path for each in merge.conflicts}
    assert {"tool", "place/inside"} <= {*await clone.paths(merge.tree)}


TEXTS = st.lists(st.sampled_from([b"a", b"b", b"", b"c"]), max_size=8).flatmap(
    lambda lines: st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=len(lines), max_size=len(lines)).map(
        lambda ends: b"".join(line + end for line, end in zip(lines, ends, strict=True))
    )
)


@given(TEXTS, TEXTS, TEXTS)
def test_ends_that_are_given_back_change_no_line(base: bytes, ours: bytes, theirs: bytes) -> None:
    lines = with_unix_ends(theirs)
    found = with_ends_of(lines, base, ours, theirs)
    assert found is not None
    assert with_unix_ends(found) == lines
    # Nothing new came: everything is as we had it.
    assert with_ends_of(with_unix_ends(ours), base, ours, base) == ours or ends_of(ours) == ends_of(base)
