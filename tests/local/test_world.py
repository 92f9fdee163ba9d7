"""The maintainer of a world on one machine may decide for every Project of it."""

import json
from pathlib import Path

from cli.client import Server
from local.world import World, let_decide
from shared.identity.keys import PublicKeys
from shared.identity.tokens import TokenVerifier


def test_the_local_maintainer_may_decide_for_every_project_of_the_world(tmp_path: Path) -> None:
    folder = tmp_path / "world"
    world = World.open(folder)
    world.announce("127.0.0.1:1", "postgresql://x@127.0.0.1:2/postgres")
    verifier = TokenVerifier(PublicKeys.load(world.public_keys))
    before = json.loads((folder / "world.json").read_text())
    assert not verifier.verify(before["tokens"]["maintainer"]).may_act_for("harbour")

    token = let_decide(folder, "harbour")
    assert token is not None
    maintainer = verifier.verify(token)
    assert maintainer.role == "maintainer"
    assert {"acme-portal", "harbour"} <= {*maintainer.projects}
    after = json.loads((folder / "world.json").read_text())
    assert after == before | {"tokens": before["tokens"] | {"maintainer": token}}
    # The world goes on knowing it: its tokens are renewed, and it is started again.
    World.open(folder).announce("127.0.0.1:1", "postgresql://x@127.0.0.1:2/postgres")
    renewed = json.loads((folder / "world.json").read_text())["tokens"]
    assert verifier.verify(renewed["maintainer"]).may_act_for("harbour")
    assert verifier.verify(renewed["library"]).projects == ()


def test_only_beside_a_world_does_a_token_grow(tmp_path: Path) -> None:
    assert let_decide(tmp_path, "harbour") is None
    with Server(url="http://127.0.0.1:1", token="mine", wanted=None, default="maintainer") as server:
        server.decide_for("harbour")
        assert server.place.token == "mine"
