"""Logs: one line each, with what it is about; libraries only when something is wrong."""

import logging
import re
import sys

from shared.clients.secrets import without_passwords

_QUIET = ("aiokafka", "alembic", "asyncio", "faststream", "httpx", "sqlalchemy", "uvicorn")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]++\.[\w-]*+", re.ASCII)


class RedactingFormatter(logging.Formatter):
    """Hides the passwords of URLs and signed tokens, in messages and in tracebacks with their notes."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if "://" in text:
            text = without_passwords(text)
        return _TOKEN.sub("***", text) if "eyJ" in text else text


def configure_logging(level: int) -> None:
    """Log to stderr from `level` on. A library speaks from WARNING on, aiokafka from ERROR."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(_FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It warns of every leader that it has to look for, which is what it does at each start.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
