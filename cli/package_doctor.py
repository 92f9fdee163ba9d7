"""Looks of `upgradepath doctor` at the keys that prove packages, and at the place of backups."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from shared.clock import utc_now
from shared.identity.keys import UnusableKey
from shared.signing.library_keys import LibraryKeys
from shared.signing.trust import ALLOW_UNSIGNED, LIBRARY_KEYS, Unsigned

BACKUPS = "UPGRADES_BACKUP_STORE"
_CONTENT = "UPGRADES_CONTENT_URL"
_REGISTRY, _EXECUTOR = "UPGRADES_REGISTRY_DATABASE_URL", "UPGRADES_EXECUTOR_DATABASE_URL"
_SOON = timedelta(days=30)

Look = tuple[str, str, str | None]
"""One finding: its subject, its state, and a cure exactly when something is wrong."""


def packages_and_backups() -> Iterator[Look]:
    """How it stands with them, where the settings of a service that uses them are here."""
    if {_REGISTRY, _EXECUTOR} & os.environ.keys():
        yield _package_keys()
    if _EXECUTOR in os.environ:
        yield _backups()


def _package_keys() -> Look:
    subject = "keys of packages"
    try:
        unsigned = Unsigned.read(os.environ.get(ALLOW_UNSIGNED))
    except ValueError as error:
        return subject, str(error), f"correct {ALLOW_UNSIGNED}"
    allowed = f"; {_allowed(unsigned)}" if unsigned != Unsigned() else ""
    given = os.environ.get(LIBRARY_KEYS, "")
    if not given:
        found = f"{LIBRARY_KEYS} is not set: no signed package is taken{allowed}"
        cure = f"make the file with `upgradepath release trust add`, and name it in {LIBRARY_KEYS}"
        return subject, found, None if unsigned.all else cure
    try:
        keys = LibraryKeys.load(given if given.lstrip().startswith("{") else Path(given).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, UnusableKey) as error:
        return subject, f"{LIBRARY_KEYS}: {error}", "make it with `upgradepath release trust add`"
    good, found = _state(keys)
    return subject, found + allowed, None if good else "trust one that is: `upgradepath release trust add`"


def _state(keys: LibraryKeys) -> tuple[bool, str]:
    """True when one of the Library's keys is good now; and each of them in words."""
    now = utc_now()
    said, good = [], False
    for kid, key in keys.by_kid.items():
        validity = key.validity
        if validity.purpose != "library":
            continue
        fault = validity.fault(now)
        good = good or fault is None
        ends = min((at for at in (validity.not_after, validity.revoked_at) if at is not None), default=None)
        if fault is not None:
            said.append(f"{kid} {fault}")
        elif ends is not None and ends < now + _SOON:
            said.append(f"{kid} is good, and only until {ends:%Y-%m-%d %H:%M} UTC")
        else:
            said.append(f"{kid} is good")
    return good, "; ".join(said) or "the file has no key of the Library"


def _allowed(unsigned: Unsigned) -> str:
    if unsigned.all:
        return f"{ALLOW_UNSIGNED} takes every package without a signature"
    return f"{ALLOW_UNSIGNED} names {len(unsigned.digests)} packages"


def _backups() -> Look:
    subject, given = "place of backups", os.environ.get(BACKUPS, "")
    content = os.environ.get(_CONTENT, "").rstrip("/")
    if given and not f"{given.rstrip('/')}/".startswith(f"{content}/"):
        return subject, given, None
    where = given or f"{content}/backups"
    found = f"{where}, below the content store: who may write packages there can delete backups"
    return subject, found, f"name a store of its own in {BACKUPS}, with a credential of its own; SECURITY.md"
