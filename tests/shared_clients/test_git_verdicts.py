"""Law: what Git says of a remote asks whoever can act on it, with a cure.

What can be provoked here is provoked with real Git, the rest is judged by its words as hosts print them.
"""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.clients.git import Git
from shared.clients.git_command import git
from shared.clients.git_renewal import own_fault
from shared.clients.git_verdicts import UNKNOWN, VERDICTS, answer, verdict_of
from shared.errors import Failure, Retry
from tests.support.scopes import LOCAL

WORDS = {
    "host is full": "remote: fatal: write error: No space left on device\nerror: remote unpack failed",
    "read-only": "ERROR: This repository was archived so it is read-only.",
    "branch gone": "fatal: couldn't find remote ref main",
    "pack too large": "error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413",
    "hook declined": "! [remote rejected] main -> main (pre-receive hook declined)",
    "checked out": "! [remote rejected] main -> main (branch is currently checked out)",
    "protected branch": "remote: error: GH006: Protected branch update failed for refs/heads/main.",
    "shallow": "! [remote rejected] main -> main (shallow update not allowed)",
    "ref name conflict": "error: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists",
    "not fast-forward": "! [rejected] main -> main (non-fast-forward)",
    "denied": "git@host: Permission denied (publickey).\nfatal: Could not read from remote repository.",
    "certificate": "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
    "worker is full": "fatal: write error: No space left on device\nfatal: index-pack failed",
    "gone": "remote: Repository not found.\nfatal: repository 'https://h/r/' not found",
    "submodule": "fatal: remote error: upload-pack: submodule 'x' is not reachable",
    "unsafe owner": "fatal: detected dubious ownership in repository at '/srv/r.git'",
    "damaged": "fatal: bad object refs/heads/main",
    "unreachable": "fatal: unable to access 'https://h/': Could not resolve host: h",
}
ALSO = {
    "fatal: unable to access 'https://h/': The requested URL returned error: 403": "denied",
    "fatal: could not read Username for 'https://h': terminal prompts disabled": "denied",
    "remote: You are not allowed to push code to this project.": "protected branch",
    "remote: ERROR: The project you were looking for could not be found or you may not.": "gone",
    "Host key verification failed.\nfatal: Could not read from remote repository.": "certificate",
    "ssh: connect to host h port 22: Connection timed out": "unreachable",
    "fatal: the remote end hung up unexpectedly": "unreachable",
    "error: RPC failed; HTTP 502 curl 22": "unreachable",
    "fatal: unable to access 'https://ssl.example/': Failed to connect to port 443": "unreachable",
    "fatal: unable to access 'https://h/': SSL connection timeout": "unreachable",
    "fatal: unable to access 'https://h/r/submodule-demo.git/': Could not resolve host: h": "unreachable",
    "fatal: unable to access 'https://h/corrupt-publickey.git/': Failed to connect to h": "unreachable",
    "ssh: Could not resolve hostname submodule: Name or service not known": "unreachable",
    "fatal: the remote end hung up unexpectedly\nfatal: early EOF\nfatal: index-pack failed": "unreachable",
    "error: RPC failed; HTTP 403 curl 22\nfatal: the remote end hung up unexpectedly": "denied",
    "remote: fatal: loose object 1 is corrupt\nfatal: early EOF\nfatal: index-pack failed": "damaged",
    "remote: timed out\n! [remote rejected] main -> main (pre-receive hook declined)": "hook declined",
    "! [remote rejected] m -> m (cannot lock ref 'm': is at 1a but expected 2b)": "not fast-forward",
    "remote: error: GH009: Secrets detected! This push failed.": "hook declined",
    " ! [remote rejected] main -> main (push declined due to email privacy restrictions)": "hook declined",
    " ! [remote rejected] HEAD -> refs/for/main (missing Change-Id in message footer)": "hook declined",
    " ! [remote rejected] main -> main (push declined due to repository rule violations)": "protected branch",
    "remote: Permission to push to refs/heads/main denied: branch is restricted.": "protected branch",
    "remote: Gitea: Branch main is protected from push": "protected branch",
    "remote: ERROR: A default branch (e.g. main) does not yet exist for a/b": "protected branch",
    "remote: TF402455: Pushes to this branch are not permitted; use a pull request.": "protected branch",
    "remote: TF401019: The Git repository with name x does not exist": "gone",
    "fatal: https://h/r/info/refs not valid: is this a git repository?": "gone",
    "fatal: protocol error: bad line length character: <!DO": "gone",
    "remote: This repository was archived so it is read-only.\nreturned error: 403": "read-only",
    "remote: You cannot push code to a read-only GitLab instance.": "read-only",
    "remote: fatal: Unable to create '/r.git/objects/tmp': Read-only file system": "read-only",
    "remote: Your push would cause it to exceed the allocated storage by 10 MB.": "host is full",
    "remote: Your repository has exceeded its size limit of 4 GB and is in read-only mode": "host is full",
    "batch response: This repository is over its data quota.": "host is full",
    "ERROR: Permission to acme/portal.git denied to deploy key": "denied",
    "ERROR: The key you are authenticating with has been marked as read only.": "denied",
    "remote: Git access over HTTP is not allowed": "denied",
    "Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures": "denied",
    "fatal: unable to update url base from redirection:\n redirect: https://h/login": "denied",
    "error: insufficient permission for adding an object to repository database": "denied",
    "fatal: unable to access 'https://h/': SSL: no alternative certificate subject name": "certificate",
    "no matching host key type found. Their offer: ssh-rsa": "certificate",
    "OpenSSL SSL_read: error:0A000126:SSL routines::unexpected eof while reading": "unreachable",
    "error: remote unpack failed: eof before pack header was fully read": "unreachable",
    "remote: GitLab is currently unable to handle this request due to load.": "unreachable",
    "remote: The project is still being moved. Please try again later.": "unreachable",
    "! [remote failure] main -> main (remote failed to report status)": "unreachable",
    "remote: fatal error in commit_refs\n ! [remote rejected] main -> main (failure)": "unreachable",
    "fatal: expected flush after ref listing": "unreachable",
    "error: src refspec upgrade/x does not match any": "branch gone",
}


def test_all_that_git_says_asks_somebody_with_a_cure() -> None:
    assert WORDS.keys() == {each.name for each in VERDICTS}
    for name, words in [*WORDS.items(), *((name, words) for words, name in ALSO.items())]:
        verdict = verdict_of(words)
        assert verdict.name == name, words
        asked = answer("git fetch ended with 128", words)
        assert str(asked) == "git fetch ended with 128"
        findings = asked.outcome.findings if isinstance(asked, Failure) else asked.findings
        assert isinstance(asked, Retry) == verdict.passes
        assert [each.cure for each in findings] == ([] if verdict.ours else [verdict.cure])
    assert verdict_of("a word that no Git has said") is UNKNOWN
    assert isinstance(answer("x", "?"), Retry), (
        "what nobody knows is tried again, then its maintainer is asked"
    )


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder, work = tmp_path / "remote.git", tmp_path / "work"
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*run, "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
    subprocess.run([*run, "clone", "-q", str(folder), str(work)], check=True, capture_output=True)
    (work / "a").write_text("a\n")
    for command in (["add", "."], ["commit", "-qm", "a"], ["push", "-q", "origin", "HEAD:main"]):
        subprocess.run([*run, *command], cwd=work, check=True)
    return folder


async def said(of: Exception) -> str:
    """The name of the verdict that the error was made of."""
    assert str(of).strip()
    cures = of.outcome.findings if isinstance(of, Failure) else getattr(of, "findings", ())
    return next(each.name for each in (*VERDICTS, UNKNOWN) if cures and each.cure == cures[0].cure)


async def test_real_refusals_of_a_push_and_a_fetch(remote: Path, tmp_path: Path) -> None:
    opened = await Git.open(str(remote), tmp_path / "clone.git", LOCAL)
    head = await opened.head("main")
    assert head is not None

    async def push(ref: str) -> str:
        with pytest.raises((Failure, Retry)) as caught:
            await opened.push([(ref, head, None)])
        return await said(caught.value)

    await opened.push([("refs/heads/taken", head, None)])
    assert await push("refs/heads/taken/below") == "ref name conflict"
    hook = remote / "hooks" / "pre-receive"
    for text, name in (
        ("#!/bin/sh\nexit 1\n", "hook declined"),
        ("#!/bin/sh\necho 'GitLab: You are not allowed to push'; exit 1\n", "hook declined"),
        ("#!/bin/sh\necho 'fatal: No space left on device' >&2; exit 1\n", "host is full"),
    ):
        hook.write_text(text)
        hook.chmod(0o755)
        assert await push("refs/heads/x") == name
    hook.unlink()
    config = remote / "config"
    config.write_text(f"{config.read_text()}[receive]\n\tmaxInputSize = 1\n")
    big = await opened.commit(await opened.tree_with(None, {"b": bytes(range(256)) * 99}), [], "b", when=0)
    with pytest.raises(Failure) as caught:
        await opened.push([("refs/heads/big", big, None)])
    assert await said(caught.value) == "pack too large"
    shutil.move(str(remote), str(tmp_path / "elsewhere.git"))
    with pytest.raises(Failure) as caught:
        await opened.fetch()
    assert await said(caught.value) == "gone"
    shutil.move(str(tmp_path / "elsewhere.git"), str(remote))
    for each in (remote / "objects").glob("*/*"):
        each.chmod(0o644)
        each.write_bytes(b"no object")
    with pytest.raises((Failure, Retry)) as broken:
        await Git.open(str(remote), tmp_path / "another.git", LOCAL)
    assert await said(broken.value) == "damaged"


async def test_what_breaks_in_our_own_clone_heals_and_blames_nobody(remote: Path, tmp_path: Path) -> None:
    """A killed fetch's locks, and an object that a power cut left empty."""
    clone = tmp_path / "clone.git"
    for number, lock in enumerate(("refs/remotes/origin/main.lock", "packed-refs.lock", "shallow.lock")):
        opened = await Git.open(str(remote), clone, LOCAL)
        head = await opened.head("main")
        assert head is not None
        new = await opened.commit(await opened.tree(head), [head], f"{number}", when=number)
        await opened.push([("refs/heads/old", head, None)])
        await opened.fetch()
        await opened.push([("refs/heads/main", new, head), ("refs/heads/old", None, head)])
        await git(clone, "pack-refs", "--all")
        (clone / lock).parent.mkdir(parents=True, exist_ok=True)
        (clone / lock).touch()
        opened = await Git.open(str(remote), clone, LOCAL)
        fetched = await git(clone, "for-each-ref", "--format=%(objectname) %(refname)", "refs/remotes")
        assert fetched.stdout.decode() == f"{new} refs/remotes/origin/main\n", lock
    [entry] = (await opened.paths(new)).values()
    file = clone / "objects" / entry.blob[:2] / entry.blob[2:]
    file.chmod(0o644)
    file.write_bytes(b"")
    with pytest.raises(Retry, match="own clone") as caught:
        await opened.blobs([entry.blob])
    assert caught.value.findings == ()
    opened = await Git.open(str(remote), clone, LOCAL)
    assert await opened.blobs([entry.blob]) == {entry.blob: b"a\n"}
    for words in (f"remote: error: object file {clone}/objects/ab/cd is empty", "remote: reference broken"):
        assert own_fault(clone, "fetch", words) is None, "a host prints what it likes"


class _Refuses(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *said: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def host() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_real_answers_of_a_host(host: str, tmp_path: Path) -> None:
    await git(tmp_path, "init", "--quiet", "--bare")
    for url, name in (
        (f"http://{host}/401/r", "denied"),
        (f"http://{host}/403/r", "denied"),
        (f"http://{host}/404/r", "gone"),
        (f"http://{host}/413/r", "pack too large"),
        (f"http://{host}/429/r", "unreachable"),
        (f"http://{host}/503/r", "unreachable"),
        (f"https://{host}/200/r", "unreachable"),
        ("http://127.0.0.1:1/r", "unreachable"),
        ("http://nowhere.invalid/r", "unreachable"),
    ):
        with pytest.raises((Failure, Retry)) as caught:
            await git(tmp_path, "ls-remote", url, variables={"GIT_ALLOW_PROTOCOL": "http:https"})
        assert await said(caught.value) == name, caught.value
