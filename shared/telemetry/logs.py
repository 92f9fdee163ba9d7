"""Logs: one line each, with what it is about; libraries only when something is wrong."""

import logging
import sys

_QUIET = ("aiokafka", "alembic", "asyncio", "faststream", "httpx", "sqlalchemy", "uvicorn")


def configure_logging(level: int) -> None:
    """Log to stderr from `level` on. A library speaks from WARNING on, aiokafka from ERROR."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It warns of every leader that it has to look for, which is what it does at each start.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
