"""Logs: one line each, with what it is about; libraries only when something is wrong."""

import logging
import sys

from shared.quoted_rows import forget_rows
from shared.telemetry.redaction import redacted

_QUIET = ("aiokafka", "alembic", "asyncio", "faststream", "httpx", "sqlalchemy", "uvicorn")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class RedactingFormatter(logging.Formatter):
    """Hides passwords of URLs, signed tokens and values of rows, in messages, tracebacks and their notes."""

    def format(self, record: logging.LogRecord) -> str:
        given = record.args if isinstance(record.args, tuple) else ()
        for each in (record.msg, *given, record.exc_info[1] if record.exc_info else None):
            if isinstance(each, BaseException):
                forget_rows(each)
        return redacted(super().format(record))


def configure_logging(level: int) -> None:
    """Log to stderr from `level` on. A library speaks from WARNING on, aiokafka from ERROR."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(_FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It warns of every leader that it has to look for, which is what it does at each start.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
