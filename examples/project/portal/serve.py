"""Serves the portal on a listening socket that it was given, and lends that socket to its successor.

Two processes with a socket each (SO_REUSEPORT) lose the connections that wait in the older one's queue when
it closes. With one queue that both accept from, none is lost: the older process stops accepting, answers what
it has, and ends.
"""

import asyncio
import os
import socket
from types import FrameType

import uvicorn

from .main import create_app

DRAIN_S = 3.0


class Server(uvicorn.Server):
    """Ends only when every accepted connection has been answered, or after DRAIN_S seconds."""

    draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGTERM and SIGINT, between any two steps of the loop."""
        self.loop.call_soon_threadsafe(self.start_draining)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remember the loop, for handle_exit."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def start_draining(self) -> None:
        """Stop accepting, once."""
        if self.draining is None:
            self.draining = self.loop.create_task(self.drain())

    async def drain(self) -> None:
        """Accept nothing more, and wait for the connections to end by themselves."""
        # Server.close() would break a connection that was accepted in this very turn of the loop.
        for server in self.servers:
            for listening in server.sockets:
                self.loop.remove_reader(listening.fileno())
        deadline = self.loop.time() + DRAIN_S
        quiet = 0
        # What was just accepted shows among the connections a turn of the loop later: hence three looks.
        while quiet < 3 and self.loop.time() < deadline:
            quiet = 0 if self.server_state.connections else quiet + 1
            await asyncio.sleep(0.02)
        self.should_exit = True


def lend(listener: socket.socket, path: str) -> socket.socket:
    """Hand a copy of the listening socket to whoever connects to the socket file at this path."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(path)
    os.chmod(path, 0o600)
    door.listen(4)
    door.setblocking(False)

    def hand_over() -> None:
        visitor, _ = door.accept()
        with visitor:
            socket.send_fds(visitor, [b"x"], [listener.fileno()])

    asyncio.get_running_loop().add_reader(door, hand_over)
    return door


async def main() -> None:
    """Serve until SIGTERM; LISTEN_FD, LOCK_FD and HANDOVER come from hosting/activate.py."""
    # Our pid goes into the file whose lock we hold as long as we live.
    os.write(int(os.environ["LOCK_FD"]), str(os.getpid()).encode())
    listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
    # Copies share this mode: dup() of a blocking socket would make the older process wait inside accept().
    listener.setblocking(False)
    config = uvicorn.Config(
        create_app(),
        loop="asyncio",
        http="h11",
        lifespan="on",
        # One request per connection: no idle connection is left to break when this process ends.
        headers=[("connection", "close")],
    )
    door = lend(listener, os.environ["HANDOVER"])
    # uvicorn closes the copy that it is given; ours must live as long as somebody may borrow it.
    await Server(config).serve(sockets=[listener.dup()])
    door.close()


if __name__ == "__main__":
    asyncio.run(main())
