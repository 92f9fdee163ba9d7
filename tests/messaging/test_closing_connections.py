"""A connection over TLS ends soon, also when the broker never says goodbye."""

import asyncio
import ssl
import threading
from pathlib import Path
from socket import create_server, socket

from aiokafka.conn import create_conn

from shared.kafka_security import KafkaSecurity
from shared.messaging.client_arguments import client_arguments
from tests.support.authority import Authority, Files

_NO_VERSIONS = b"\0\0\0\0\0\0"
"""Of the answer to ApiVersions: no error, and an empty list."""


async def test_a_broker_without_a_goodbye_holds_nobody_up(tmp_path: Path) -> None:
    """Would catch a service or a command that stands still for half a minute when it ends."""
    files = Authority.new().write(tmp_path, "broker", ("127.0.0.1",))
    done = threading.Event()
    with create_server(("127.0.0.1", 0)) as listener:
        broker = threading.Thread(target=_deaf_broker, args=(listener, files, done), daemon=True)
        broker.start()
        settings = KafkaSecurity(
            bootstrap_servers=f"127.0.0.1:{listener.getsockname()[1]}",
            security_protocol="SSL",
            ssl_cafile=files.ca,
        )
        arguments = client_arguments(settings)
        host, port = arguments.pop("bootstrap_servers").split(":")
        try:
            connection = await create_conn(host, int(port), **arguments)
            async with asyncio.timeout(10):
                await connection.close()
        finally:
            done.set()
            await asyncio.to_thread(broker.join)


def _deaf_broker(listener: socket, files: Files, done: threading.Event) -> None:
    """Answers the first request, and neither reads nor closes until it is told to."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    accepted, _ = listener.accept()
    with context.wrap_socket(accepted, server_side=True) as connection:
        request = connection.recv(4096)
        answer = request[8:12] + _NO_VERSIONS
        connection.sendall(len(answer).to_bytes(4, "big") + answer)
        done.wait()
