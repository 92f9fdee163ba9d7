"""Prints the end of the log."""

import sys

import place

TAIL_BYTES = 200_000

if __name__ == "__main__":
    path = place.folder() / "app.log"
    if path.exists():
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            sys.stdout.write(log.read().decode("utf-8", "replace"))
