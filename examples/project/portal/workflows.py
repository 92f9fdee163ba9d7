"""Acme's own rules in workflows/*.toml: the portal obeys them, `python -m portal.workflows` proves them.

Every rule is tried on the code and the configuration of this checkout, and on the database of DATABASE_URL in
a transaction that is taken back. Prints one line per rule; exits with 1 when one does not hold.
"""

import asyncio
import os
import re
import sys
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from . import systems

Rule = dict[str, Any]
Guard = Callable[[Any], str | None]


def rules(folder: Path = systems.ROOT / "workflows") -> dict[str, Rule]:
    """Every rule by its file's name."""
    return {
        path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.toml"))
    }


def quote_guards(known: dict[str, Rule]) -> list[Guard]:
    """What the quote engine must ask before it keeps a quote; a guard answers with its reason to refuse."""

    def guard(rule: Rule) -> Guard:
        return lambda user: rule["message"] if user.suspended else None

    return [guard(rule) for rule in known.values() if rule["kind"] == "suspended-users"]


async def session_length(rule: Rule) -> str | None:
    """The configured length lies within what was agreed."""
    minutes = systems.load("auth-system").settings.read()["session_minutes"]
    if rule["min_minutes"] <= minutes <= rule["max_minutes"]:
        return None
    return f"session_minutes is {minutes}, agreed are {rule['min_minutes']} to {rule['max_minutes']}"


async def confirmation_page(rule: Rule) -> str | None:
    """The page shows each agreed field and, where the rule says so, no other."""
    template = systems.ROOT / "systems" / "auth-system" / "templates" / "signed_in.html"
    shown = re.findall(r'data-field="([^"]+)"', template.read_text(encoding="utf-8"))
    agreed = rule["agreed"]
    if missing := [field for field in agreed if field not in shown]:
        return f"the page no longer shows {', '.join(missing)}"
    if rule["only_agreed"] and (added := [field for field in shown if field not in agreed]):
        return f"the page shows {', '.join(added)}; agreed are only {', '.join(agreed)}"
    return None


async def suspended_users(rule: Rule) -> str | None:
    """A user who is suspended is refused, and one who is reinstated is not."""
    users = systems.load("auth-system").users
    guard = quote_guards({"this": rule})[0]
    connection = await asyncpg.connect(os.environ["DATABASE_URL"], timeout=10)
    trial = connection.transaction()
    await trial.start()
    try:
        user = await users.create(connection, "rule-trial@acme.invalid", "Rule Trial", "a long password")
        verdicts = [guard(user)]
        for change in (users.suspend, users.reinstate):
            await change(connection, user.id)
            verdicts.append(guard(await users.by_id(connection, user.id)))
    finally:
        await trial.rollback()
        await connection.close()
    if verdicts == [None, rule["message"], None]:
        return None
    return f"new, suspended, reinstated: the answers were {verdicts}"


PROOFS: dict[str, Callable[[Rule], Awaitable[str | None]]] = {
    "session-length": session_length,
    "confirmation-page": confirmation_page,
    "suspended-users": suspended_users,
}


async def prove_all() -> int:
    """Try every rule; the number of those that do not hold."""
    systems.load_all()
    broken = 0
    for name, rule in rules().items():
        reason = await PROOFS[rule["kind"]](rule)
        broken += reason is not None
        print(f"FAIL {name}: {rule['name']}: {reason}" if reason else f"ok   {name}: {rule['name']}")
    return broken


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(prove_all()) else 0)
