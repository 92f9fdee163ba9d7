"""The process that `upgradepath service` becomes: one service, and nothing of the command line."""

import logging
import os
import sys

import uvloop
from pydantic import ValidationError

from cli.ending import ends_at_once
from services.processes import build, serve
from shared.contracts.envelope import explain
from shared.isolation.own_environment import hide_own_environment
from shared.isolation.runner import CannotIsolate
from shared.plaintext import Plaintext
from shared.private_files import keep_files_private
from shared.telemetry.logs import configure_logging

_LEVELS = {"debug": logging.DEBUG, "warning": logging.WARNING}


def main() -> None:
    """`python -m cli.one_service SERVICE HOST PORT`, until it is told to stop."""
    name, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    hide_own_environment()
    keep_files_private()
    configure_logging(_LEVELS.get(os.environ.get("UPGRADES_LOG_LEVEL", ""), logging.INFO))
    try:
        service = build(name)
    except ValidationError as error:
        from cli.output import fail

        fail(f"the settings of {name} are wrong: {explain(error)}", "set these variables; see the README")
        sys.exit(2)
    except CannotIsolate as error:
        from cli.output import fail

        fail(f"{name} does not start: {error}", "see UPGRADES_RUNNER in the README")
        sys.exit(2)
    try:
        service.settings.http.refuse_plaintext(host)
    except Plaintext as error:
        from cli.output import fail

        fail(str(error), "nothing was started")
        sys.exit(2)
    uvloop.run(serve([service], host, port))


if __name__ == "__main__":
    with ends_at_once():
        main()
