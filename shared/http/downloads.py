"""Files of the content store as answers: in parts, each when the one before was read."""

from starlette.responses import StreamingResponse

from shared.clients.content import ContentStore
from shared.contracts.values import Digest


async def download(content: ContentStore, digest: Digest, media_type: str) -> StreamingResponse:
    """The file's bytes. One that is not what its digest says ends the connection before its last part.

    Raises `Reject` when the store does not have it, `Retry` when the store does not answer.
    """
    size, parts = await content.open(digest)
    return StreamingResponse(parts, media_type=media_type, headers={"content-length": str(size)})
