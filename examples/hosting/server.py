"""The hosting of the example's partners: runs their apps on this machine, and outlives whoever asks it to.

    POST /<partner>/<command>     Authorization: Basic <partner>:<key>
    {"environment": {"UPGRADEPATH_ENVIRONMENT": …}, "files": {"portal/main.py": "<base64>", …}}

The answer is the command's `{"exit_code", "stdout", "stderr"}`. Commands are the programs beside this one:
activate, observe, health, logs, destroy. A partner's folder is `<root>/<partner>/hosting`; `key` is its key.
The portals that run live on when this program ends, and the next one finds them.
"""

import base64
import binascii
import hmac
import json
import os
import re
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

COMMANDS = ("activate", "observe", "health", "logs", "destroy")
# Enough for the example and its variants.
BODY_BYTES_MAX = 64 << 20
COMMAND_S = 60.0
NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
OURS = re.compile(r"(PATH|HOME|TMPDIR|PWD|SHELL|PORT|HOST)\Z|(HOSTING|LD|PYTHON)_|PYTHON")
"""What the hosting itself says, or what would steer its own programs."""


class Refused(Exception):
    """A request that is not answered; the status and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def partner_of(root: Path, authorization: str) -> str:
    """Who asks, by the key of its folder. Raises `Refused`."""
    try:
        name, _, key = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(401, "name and key are not readable") from None
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise Refused(401, "there is no such partner")
    file = root / name / "hosting" / "key"
    if not file.is_file() or not hmac.compare_digest(file.read_text().encode(), key.encode()):
        raise Refused(401, "the key is not that partner's")
    return name


def may_have(name: str) -> bool:
    """Whether an app gets this variable of its Project's."""
    return NAME.fullmatch(name) is not None and OURS.match(name) is None


def lay_out(files: dict[str, str], folder: Path) -> None:
    """Write the checkout that was sent. Raises `Refused` for a path that leads out of the folder."""
    for path, content in files.items():
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise Refused(400, f"{path!r} leads out of the checkout")
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(content))


def run(root: Path, partner: str, command: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a copy of the checkout."""
    given = {name: str(value) for name, value in asked["environment"].items() if may_have(name)}
    with tempfile.TemporaryDirectory(prefix="hosting-") as folder:
        lay_out(asked["files"], Path(folder))
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(f"{command}.py"))],
            cwd=folder,
            env={**given, "PATH": os.environ["PATH"], "HOSTING_ROOT": str(root / partner / "hosting")},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
    return {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


class Handler(BaseHTTPRequestHandler):
    root: Path

    def do_GET(self) -> None:
        """Says that the hosting is up."""
        self.answer(200, {"hosting": "up"})

    def do_POST(self) -> None:
        try:
            self.answer(200, self.done())
        except Refused as refused:
            self.answer(refused.status, {"reason": str(refused)})
        except (ValueError, KeyError, TypeError, OSError, subprocess.TimeoutExpired) as error:
            self.answer(500, {"reason": f"{type(error).__name__}: {error}"})

    def done(self) -> dict[str, Any]:
        """Do what is asked; the answer. Raises `Refused`."""
        _, partner, command = self.path.split("/")
        if partner != partner_of(self.root, self.headers.get("Authorization", "")):
            raise Refused(404, "nothing of yours is here")
        if command not in COMMANDS:
            raise Refused(404, f"there is no {command}; there are {', '.join(COMMANDS)}")
        length = int(self.headers.get("Content-Length", "0"))
        if length > BODY_BYTES_MAX:
            raise Refused(413, "the checkout is too large")
        return run(self.root, partner, command, json.loads(self.rfile.read(length)))

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: what failed is in the answer."""


if __name__ == "__main__":
    Handler.root = Path(sys.argv[1]).resolve()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
