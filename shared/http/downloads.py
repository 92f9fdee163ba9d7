"""Files of the content store as answers: in parts, each when the one before was read."""

from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from shared.clients.content import ContentStore
from shared.contracts.values import Digest

ENVELOPE_TYPE: Final = "application/json"
ENVELOPE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {ENVELOPE_TYPE: {}}, "description": "a DSSE envelope"}
}
"""How a route says that it answers with a signed paper."""


def envelope(data: bytes) -> Response:
    """A signed paper as it is."""
    return Response(data, media_type=ENVELOPE_TYPE)


async def download(content: ContentStore, digest: Digest, media_type: str) -> StreamingResponse:
    """The file's bytes. One that is not what its digest says ends the connection before its last part.

    Raises `Reject` when the store does not have it, `Retry` when the store does not answer.
    """
    size, parts = await content.open(digest)
    return StreamingResponse(parts, media_type=media_type, headers={"content-length": str(size)})
