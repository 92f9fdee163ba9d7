"""Laws of the bare clone, on real repositories in a folder."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.clients.git import Entry, Git, Labels, Moved
from shared.clients.git_access import PersonsAccess
from shared.clients.git_command import git as run_git
from shared.clients.git_merge import marked_lines
from shared.errors import Failure, Retry
from tests.support.scopes import LOCAL

LABELS = Labels(ours="acme-portal", theirs="auth-system-1.3.0")
WHEN = 1_760_000_000


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
    return folder


@pytest.fixture
async def git(remote: Path, tmp_path: Path) -> Git:
    """A clone whose remote has `main` with two files."""
    opened = await Git.open(str(remote), tmp_path / "clone", LOCAL)
    tree = await opened.tree_with(None, {"a.txt": b"one\ntwo\nthree\n", "systems/x/run": b"#!/bin/sh\n"})
    first = await opened.commit(tree, [], "First", when=WHEN, author="Mira <mira@acme.example>")
    await opened.push([("refs/heads/main", first, None)])
    return opened


async def head(git: Git) -> str:
    found = await git.head("main")
    assert found is not None
    return found


async def test_what_is_written_can_be_read(git: Git) -> None:
    commit = await head(git)
    assert await git.show(commit, "a.txt") == b"one\ntwo\nthree\n"
    assert await git.show(commit, "none.txt") is None
    assert await git.show(commit, "systems") is None
    assert list(await git.paths(commit)) == ["a.txt", "systems/x/run"]
    assert list(await git.paths(commit, "systems/x")) == ["systems/x/run"]
    assert await git.paths(commit, "systems/") == await git.paths(commit, "systems")
    (logged,) = await git.log(None, commit)
    assert (logged.author, logged.subject, logged.when) == ("Mira", "First", WHEN)


async def test_the_same_arguments_give_the_same_commit(git: Git) -> None:
    tree = await git.tree(await head(git))
    first = await git.commit(tree, [], "Same\n\nRun: x", when=WHEN)
    assert await git.commit(tree, [], "Same\n\nRun: x", when=WHEN) == first
    assert await git.commit(tree, [], "Same\n\nRun: x", when=WHEN + 1) != first


async def test_a_tree_with_changes_keeps_modes_and_the_rest(git: Git) -> None:
    base = await head(git)
    (blob,) = await git.write([b"#!/bin/sh\necho hi\n"])
    executable = await git.tree_with(base, {"systems/x/run": Entry("100755", blob)})
    changed = await git.tree_with(executable, {"systems/x/run": b"#!/bin/sh\necho ho\n", "a.txt": None})
    assert [(path, entry.mode) for path, entry in (await git.paths(changed)).items()] == [
        ("systems/x/run", "100755")
    ]
    assert await git.tree_with(base, {}) == await git.tree(base)
    # A file where a folder was, and bytes that are no text under a name that is no ASCII.
    odd = await git.tree_with(base, {"systems/x/run": None, "systems": b"\x00\xff", "ä b.txt": b""})
    assert await git.show(odd, "systems") == b"\x00\xff"
    assert "ä b.txt" in await git.paths(odd)


NAMES = st.sampled_from(["a", "a.b", "a-b", "a0", "b", "Z", "ä", ".gitignore", "a b"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CHANGES = st.dictionaries(PATHS, st.one_of(st.none(), st.binary(max_size=3)), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=CHANGES, second=CHANGES)
async def test_a_tree_is_the_one_that_gits_own_index_makes(
    git: Git, first: dict[str, bytes | None], second: dict[str, bytes | None]
) -> None:
    base: str | None = None
    for changes in (first, second):
        # Two files of which one lies below the other: Git keeps the last, and nobody asks for that.
        if any(f"{path}/" in other for path in changes for other in changes):
            return
        names = dict(zip(changes, await git.write([each or b"" for each in changes.values()]), strict=True))
        entries = {
            path: None if change is None else Entry("100644", names[path]) for path, change in changes.items()
        }
        made = await git.tree_with(base, changes)
        assert made == await git._tree_by_index(base, entries)
        base = made
    await run_git(git.folder, "fsck", "--strict")


async def test_a_path_that_git_does_not_take_is_in_no_tree(git: Git) -> None:
    for path in (".git/config", "a/.GIT/x", "a/../b", "git~1/x", "a//b", ".git /x"):
        try:
            tree = await git.tree_with(None, {path: b"x", "good": b"y"})
        except Retry:
            continue
        assert list(await git.paths(tree)) == ["good"], path


async def test_a_commit_is_the_one_that_git_makes(git: Git) -> None:
    base = await head(git)
    tree = await git.tree(base)
    made = await git.commit(base, [base, base], "Grüße\n\nRun: x\n\n", when=WHEN)
    date = f"@{WHEN} +0000"
    variables = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    message = "Grüße\n\nRun: x\n".encode()
    arguments = ("commit-tree", tree, "-p", base)
    by_git = await run_git(git.folder, *arguments, stdin=message, variables=variables)
    assert by_git.stdout.decode().strip() == made
    assert (await git.date(made), await git.parent(made), await git.tree(made)) == (WHEN, base, tree)
    with pytest.raises(Retry, match="no parent"):
        await git.parent(base)


async def test_edits_of_both_sides_merge(git: Git) -> None:
    base = await head(git)
    ours = await git.tree_with(base, {"a.txt": b"ONE\ntwo\nthree\n"})
    theirs = await git.tree_with(base, {"a.txt": b"one\ntwo\nthree\nfour\n", "new.txt": b"n\n"})
    merge = await git.merge(base, ours, theirs, LABELS)
    assert merge.conflicts == ()
    assert await git.show(merge.tree, "a.txt") == b"ONE\ntwo\nthree\nfour\n"
    assert list(await git.changed(base, merge.tree)) == ["a.txt", "new.txt"]
    assert "+four" in await git.diff(base, merge.tree)


async def test_a_conflict_shows_names_and_lines(git: Git) -> None:
    base = await head(git)
    ours = await git.tree_with(base, {"a.txt": b"one\nOUR\nthree\n"})
    theirs = await git.tree_with(base, {"a.txt": b"one\nTHEIR\nthree\n", "systems/x/run": None})
    merge = await git.merge(base, ours, theirs, LABELS)
    (conflict,) = merge.conflicts
    assert (conflict.path, conflict.kind) == ("a.txt", "contents")
    assert conflict.hunk.startswith("lines 2-6:\n<<<<<<< acme-portal\nOUR\n=======\nTHEIR\n>>>>>>> auth-sys")
    merged = await git.show(merge.tree, "a.txt")
    assert merged is not None
    assert marked_lines(merged) == ((2, 6),)
    assert await git.paths(merge.tree, "systems") == {}


async def test_a_deletion_against_an_edit_is_a_conflict_in_words(git: Git) -> None:
    base = await head(git)
    ours = await git.tree_with(base, {"a.txt": None})
    theirs = await git.tree_with(base, {"a.txt": b"one\n"})
    (conflict,) = (await git.merge(base, ours, theirs, LABELS)).conflicts
    assert conflict.kind == "modify/delete"
    assert "a.txt" in conflict.hunk


async def test_only_one_of_two_racers_pushes(git: Git) -> None:
    base = await head(git)
    tree = await git.tree_with(base, {"a.txt": b"x\n"})
    mine, other = [await git.commit(tree, [base], title, when=WHEN) for title in ("Mine", "Other")]
    await git.push([("refs/heads/main", mine, base), ("refs/upgradepath/run-1", mine, None)])
    # Done before is done: a push that is repeated after a crash changes nothing.
    await git.push([("refs/heads/main", mine, base), ("refs/upgradepath/run-1", mine, None)])
    with pytest.raises(Moved) as moved:
        await git.push([("refs/heads/main", other, base), ("refs/upgradepath/run-2", other, None)])
    assert (moved.value.expected, moved.value.found) == (base, mine)
    assert await git.refs("refs/heads/main", "refs/upgradepath/run-1", "refs/upgradepath/run-2") == {
        "refs/heads/main": mine,
        "refs/upgradepath/run-1": mine,
    }
    await git.push([("refs/upgradepath/run-1", None, mine)])
    assert await git.ref("refs/upgradepath/run-1") is None


async def test_another_clone_sees_pushes_and_kept_commits(git: Git, remote: Path, tmp_path: Path) -> None:
    other = await Git.open(str(remote), tmp_path / "other", LOCAL)
    base = await head(git)
    kept = await git.commit(await git.tree(base), [base], "Kept", when=WHEN)
    await git.push([("refs/heads/main", kept, base)])
    assert await other.head("main") == kept
    assert await other.is_ancestor(base, kept)
    assert not await other.is_ancestor(kept, base)
    assert await other.head("nothing") is None
    assert await other.head("ain") is None


async def test_export_writes_files_and_nothing_of_git(git: Git, tmp_path: Path) -> None:
    base = await head(git)
    (blob,) = await git.write([b"#!/bin/sh\n"])
    tree = await git.tree_with(
        base, {"run": Entry("100755", blob), ".gitattributes": b"a.txt export-ignore\n"}
    )
    folder = tmp_path / "checkout"
    await git.export(tree, folder)
    assert sorted(path.name for path in folder.iterdir()) == [".gitattributes", "a.txt", "run", "systems"]
    assert os.access(folder / "run", os.X_OK)


async def test_histories_merge(git: Git) -> None:
    base = await head(git)
    sides = []
    for path in ("left", "right"):
        tree = await git.tree_with(base, {path: b"x\n"})
        sides.append(await git.commit(tree, [base], path, when=WHEN))
    merge = await git.merge_commits(sides[0], sides[1], LABELS)
    assert merge.conflicts == ()
    assert {"left", "right"} <= set(await git.paths(merge.tree))


async def test_what_a_servers_hook_prints_stays_there(git: Git, remote: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nprintf 'ann\\rann\\n\\xe2\\x80\\xa8ann\\n\\nann' >&2; echo ann; exit 1\n")
    hook.chmod(0o755)
    commit = await git.commit(await head(git), [await head(git)], "Next", when=WHEN)
    with pytest.raises(Failure) as refused:
        await git.push([("refs/heads/main", commit, await head(git))])
    assert "pre-receive hook declined" in str(refused.value)
    assert "lines of the server's hooks are left out" in str(refused.value)
    assert "ann" not in str(refused.value).replace("cannot", "")


async def test_a_remote_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="git fetch"):
        await Git.open(str(tmp_path / "nowhere"), tmp_path / "clone", LOCAL)
    with pytest.raises(Retry) as refused:
        await Git.open("http://mira:hush-hush@127.0.0.1:9/x.git", tmp_path / "clone", PersonsAccess())
    assert "hush-hush" not in str(refused.value)
