"""Asks the partner's hosting: `HOSTING_URL` is `http://<partner>:<key>@<host>:<port>`.

What must live on lives there: these commands end, with everything that they have started.
"""

import base64
import http.client
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ANSWER_S = 90.0
KEPT = ("HOSTING_URL", "PATH", "HOME", "TMPDIR", "PWD", "LANG")
"""What is of this command's own; everything else is the app's."""
LEFT_OUT = {".git", "__pycache__"}


def checkout() -> dict[str, str]:
    """Every file of the checkout, by path, in base64."""
    return {
        path.as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in Path().rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.parts)
    }


def ask(command: str, files: dict[str, str]) -> dict[str, Any]:
    """The hosting's answer: exit code and what was printed. Exits with the reason when there is none."""
    parts = urlsplit(os.environ["HOSTING_URL"])
    partner, key = unquote(parts.username or ""), unquote(parts.password or "")
    credentials = base64.b64encode(f"{partner}:{key}".encode()).decode()
    sent = {name: value for name, value in os.environ.items() if name not in KEPT}
    body = json.dumps({"environment": sent, "files": files})
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.request("POST", f"/{partner}/{command}", body, {"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SystemExit(f"the hosting does not answer: {error}") from None
    if response.status != 200:
        raise SystemExit(f"the hosting refused {command}: {answer.get('reason')}")
    return answer


def have(command: str, *, send_files: bool = False) -> None:
    """Have the hosting do it, and end as it ended there."""
    answer = ask(command, checkout() if send_files else {})
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    if answer["exit_code"]:
        raise SystemExit(answer["exit_code"])
