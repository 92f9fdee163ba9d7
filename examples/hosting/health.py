"""Exits with 0 when the portal and its database answer, else with 1 and the reason.

An app of a Procfile may have no page of that name: then its first page says it.
"""

import sys

import place

if __name__ == "__main__":
    live = place.read(place.folder())
    if live is None:
        sys.exit("nothing was activated here")
    answer = place.get(live.port, "/health", timeout_s=10.0)
    if live.web and answer is not None and answer[0] == 404:
        answer = place.get(live.port, "/", timeout_s=10.0)
    if answer is None:
        sys.exit("nobody answers")
    if answer[0] >= 500 or (not live.web and answer[0] != 200):
        sys.exit(f"/health answered {answer[0]}: {answer[1][:200]}")
    print("healthy")
