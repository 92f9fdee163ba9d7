"""A bearer token that the broker refuses: aiokafka takes the refusal for a yes, and talks on to a shut door.

The broker answers such a token with a JSON document of its fault, and an accepted one with nothing.
Source: https://datatracker.ietf.org/doc/html/rfc7628#section-3.2.2
"""

from typing import Any

from aiokafka import conn
from aiokafka.errors import SaslAuthenticationFailed


def notice_refused_tokens() -> None:
    """From here on every client of this process raises SaslAuthenticationFailed. Safe to repeat."""
    conn.OAuthAuthenticator = Authenticator


class Authenticator(conn.OAuthAuthenticator):  # type: ignore[misc]  # aiokafka tells no types
    """Stands in for aiokafka's: what comes back after the token is read."""

    async def step(self, payload: bytes | None) -> Any:
        """The next message to the broker; none when all is said. Raises SaslAuthenticationFailed."""
        if self._token_sent and payload:
            raise SaslAuthenticationFailed("the broker refused the bearer token")
        return await super().step(payload)
