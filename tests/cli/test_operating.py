"""`freeze`, `replay resume`, and what `doctor` says of a freeze."""

from __future__ import annotations

import json

import pytest

from shared.contracts.freezes import FreezeDeploys, ThawDeploys
from shared.contracts.runs import ResumeRun
from shared.errors import forbidden
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import ACTORS, Services

NO_SERVERS = dict.fromkeys(("UPGRADES_KAFKA_BOOTSTRAP_SERVERS", "UPGRADES_CONTENT_URL"))


def test_freeze_on_is_seen_until_it_is_off(upgradepath: Type, services: Services) -> None:
    assert upgradepath("freeze", "status").exit_code == 0
    on = upgradepath("freeze", "on", "--reason", "the database moves")
    assert on.exit_code == 0
    assert "frozen by ops@innopo.example since 2026-03-01 12:00:00 UTC: the database moves" in on.stdout
    seen = upgradepath("freeze", "status", "--json")
    assert (seen.exit_code, json.loads(seen.stdout)["freeze"]["reason"]) == (1, "the database moves")
    looked = upgradepath("doctor", "--json", **NO_SERVERS)
    (deploys,) = [one for one in json.loads(looked.stdout) if one["subject"] == "deploys"]
    assert looked.exit_code == 1
    assert "the database moves" in deploys["found"]
    off = upgradepath("freeze", "off", "--reason", "it has moved", "--json")
    assert json.loads(off.stdout)["freeze"] is None
    assert [type(command) for command, _ in services.commands] == [FreezeDeploys, ThawDeploys]
    assert {command.actor.role for command, _ in services.commands} == {"sre"}


@pytest.mark.parametrize("verb", ["on", "off"])
def test_a_freeze_needs_a_reason(upgradepath: Type, verb: str) -> None:
    assert upgradepath("freeze", verb).exit_code == 2


def test_resume_says_from_where_and_why(upgradepath: Type, services: Services) -> None:
    services.states = [documents.run()]
    run = services.states[0].id
    assert upgradepath("replay", "resume", run).exit_code == 2
    said = upgradepath("replay", "resume", run, "--from", "migrate", "--reason", "staging was lost", "--json")
    assert said.exit_code == 0, said.output
    (command, _) = services.commands[0]
    assert isinstance(command, ResumeRun)
    assert (command.from_stage, command.reason, command.actor) == (
        "migrate",
        "staging was lost",
        ACTORS["sre"],
    )


def test_a_maintainer_is_told_whom_to_ask(upgradepath: Type, services: Services) -> None:
    services.states = [documents.run()]
    services.refuse = forbidden("mira may not resume a Run", cure="ask an SRE of the platform")
    said = upgradepath("replay", "resume", services.states[0].id, "--as", "maintainer", "--reason", "please")
    assert said.exit_code == 1
    assert "ask an SRE" in said.stderr
