"""What this machine's UPGRADES_TOKEN_… variables trust, for commands that prove tokens or look at that."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cli.world import NoAnswer, world_folder
from shared.contracts.envelope import explain

if TYPE_CHECKING:
    from shared.identity.tokens import TokenVerifier

TOKEN_KEYS = "UPGRADES_TOKEN_PUBLIC_KEYS"
TOKEN_ISSUERS = "UPGRADES_TOKEN_ISSUERS"
SERVICE_KEYS = "UPGRADES_SERVICE_PUBLIC_KEYS"


def tokens_of_the_past() -> TokenVerifier:
    """Proves people's commands that were sent long ago. Raises `NoAnswer` without keys.

    What was revoked later counted when it was sent, so the list of revoked tokens is not asked.
    """
    from shared.identity.issuer_keys import read_once
    from shared.token_settings import TokenSettings

    given: dict[str, Any] = {}
    folder = world_folder()
    if not os.environ.get(TOKEN_KEYS) and folder is not None:
        from local.world import World

        given["token_public_keys"] = World.open(folder).public_keys
    try:
        tokens = TokenSettings(**given).token_verifier(with_revoked=False)
    except (ValidationError, ValueError, OSError) as error:
        why = explain(error) if isinstance(error, ValidationError) else error
        raise NoAnswer(
            f"nobody said which keys prove people's commands: {why}", f"set {TOKEN_KEYS} or {TOKEN_ISSUERS}"
        ) from error
    asyncio.run(read_once(tokens.sources))
    for source in tokens.sources:
        if not source.keys().by_kid and (trouble := source.trouble()):
            raise NoAnswer(f"people's commands cannot be proven: {trouble}", "try again when it answers")
    return tokens


def trusted_keys() -> str:
    """The ids of the keys that prove people's tokens. Raises ValueError and OSError with what is wrong."""
    from shared.identity.issuer_keys import read_once
    from shared.token_settings import TokenSettings

    try:
        # A shared secret that is still set is looked at by itself.
        tokens = TokenSettings(token_key=None).token_verifier()
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    asyncio.run(read_once(tokens.sources))
    if troubles := tokens.troubles():
        raise ValueError("; ".join(troubles))
    return ", ".join(kid for source in tokens.sources for kid in source.keys().by_kid)


def trusted_services() -> str:
    """The services whose messages are believed. Raises ValueError."""
    from shared.identity.service_keys import principals

    return ", ".join(principals(os.environ[SERVICE_KEYS]))
