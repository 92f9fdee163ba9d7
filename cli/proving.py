"""With which public keys the command believes what services have signed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, overload

from cli.world import NoAnswer, world_folder

if TYPE_CHECKING:
    from shared.identity.proofs import Verifier


@overload
def service_proofs(given: str | None = None, *, needed: Literal[True] = True) -> Verifier: ...
@overload
def service_proofs(given: str | None = None, *, needed: bool) -> Verifier | None: ...


def service_proofs(given: str | None = None, *, needed: bool = True) -> Verifier | None:
    """Those that are given, or else the services' own setting, or else the local world's.

    Raises `NoAnswer` where there are none and they are needed, or where they cannot be used.
    """
    from shared.identity.keys import UnusableKey
    from shared.identity.service_keys import PUBLIC_KEYS, verifier

    named, folder = given or os.environ.get(PUBLIC_KEYS), world_folder()
    if not named and folder is not None:
        from local.world import World

        named = World.open(folder).service_public_keys
    if not named and not needed:
        return None
    try:
        return verifier(named)
    except UnusableKey as error:
        raise NoAnswer(
            f"nobody said which keys prove the services' records: {error}", f"set {PUBLIC_KEYS}"
        ) from error
