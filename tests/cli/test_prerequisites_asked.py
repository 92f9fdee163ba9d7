"""Adoption of a worker pool's Project: its secrets are for that pool's workers alone to see."""

import pytest

from cli.client import Server
from cli.prerequisites import missing_for
from tests.registry.registry_world import project


def test_a_project_of_a_pool_is_not_asked_for_secrets_that_only_its_pool_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No executor answers there: that one is asked of a Project without a pool would be no answer."""
    plain = project()
    pooled = plain.model_copy(
        update={"definition": plain.definition.model_copy(update={"pool": "harbour-pool"})}
    )
    with Server(url="http://127.0.0.1:1", token="mine", wanted=None, default="maintainer") as server:
        assert missing_for(server, pooled) == ()
    said = " ".join(capsys.readouterr().err.split())
    assert "are for the workers of pool harbour-pool to see" in said
