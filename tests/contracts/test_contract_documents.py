"""The documents are what the code says, and hang together."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.contracts import app
from local.example import EXAMPLES
from services.participants import participants
from shared.contracts.catalogue import MESSAGES
from shared.contracts.documents import asyncapi, file_name, json_schemas, messages_on
from shared.contracts.project_reference import project_file_reference
from shared.contracts.topics import (
    AUDIT_EVENTS,
    DEAD_LETTERS,
    SERVICES,
    STAGE_RESULTS,
    TOPICS,
    VERSION_MAP_EVENTS,
)

DOCS = Path(__file__).resolve().parents[2] / "docs" / "contracts"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(asyncapi(participants()))
    return parsed


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return [*own, *(found for item in value.values() for found in references(item))]
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    return []


def test_the_documents_in_the_repository_are_up_to_date() -> None:
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0, result.output


def test_written_documents_pass_the_check_and_changed_ones_do_not(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["check", "--folder", str(tmp_path)]).exit_code == 1
    assert runner.invoke(app, ["write", "--folder", str(tmp_path)]).exit_code == 0
    assert runner.invoke(app, ["check", "--folder", str(tmp_path)]).exit_code == 0
    orphan = tmp_path / "schemas" / "NoMore.v1.json"
    orphan.write_text("{}")
    result = runner.invoke(app, ["check", "--folder", str(tmp_path)])
    assert (result.exit_code, "NoMore.v1.json" in result.output) == (1, True)
    runner.invoke(app, ["write", "--folder", str(tmp_path)])
    assert not orphan.exists()
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 2.0.0\n")
    assert runner.invoke(app, ["check", "--folder", str(tmp_path)]).exit_code == 1


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    found = references(document)
    assert len(found) > len(MESSAGES)
    for reference in found:
        file, _, pointer = reference.partition("#")
        if file:
            assert (DOCS / file).is_file(), reference
            continue
        value: Any = document
        for part in pointer.strip("/").split("/"):
            assert part in value, reference
            value = value[part]


def test_every_topic_is_a_channel_with_its_settings(document: dict[str, Any]) -> None:
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    assert set(channels) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        kafka = channels[topic.name]["bindings"]["kafka"]
        assert kafka["topic"] == topic.name
        assert kafka["partitions"] == topic.partitions
        assert kafka["topicConfiguration"]["retention.ms"] == topic.retention_ms
        names = set(channels[topic.name]["messages"])
        expected = {message.__name__ for message in messages_on(topic)}
        assert names == (expected or {"DeadLetter"})
        assert (topic in DEAD_LETTERS) == (not expected)


def test_every_message_is_on_a_channel_with_its_schema(document: dict[str, Any]) -> None:
    on_channels = {name for channel in document["channels"].values() for name in channel["messages"]}
    assert on_channels == {message.__name__ for message in MESSAGES} | {"DeadLetter"}
    for message in MESSAGES:
        described = document["components"]["messages"][message.__name__]
        assert described["name"] == message.type_name()
        assert described["payload"]["schema"] == {"$ref": f"./schemas/{file_name(message)}"}
        own = described["headers"]["allOf"][1]
        assert own["properties"]["ce_type"]["const"] == message.type_name()
    assert set(json_schemas()) == {file_name(message) for message in MESSAGES}


def test_every_operation_names_messages_of_its_own_channel(document: dict[str, Any]) -> None:
    for name, operation in document["operations"].items():
        service, action, channel = name.split(".")
        assert operation["action"] == action
        assert operation["channel"]["$ref"] == f"#/channels/{channel}"
        assert operation["messages"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"#/channels/{channel}/messages/")
        if action == "receive":
            group = operation["bindings"]["kafka"]["groupId"]["const"]
            assert group.startswith(f"upgrades.{service}.")


def test_what_a_service_handles_is_what_it_receives(document: dict[str, Any]) -> None:
    for one in participants():
        received = {
            message["$ref"].rsplit("/", 1)[1]
            for name, operation in document["operations"].items()
            if name.startswith(f"{one.name}.receive.")
            for message in operation["messages"]
        }
        assert received == {message.__name__ for message in one.reads}


def test_a_topic_of_events_has_one_writer_and_a_topic_of_commands_or_results_one_reader() -> None:
    everybody = participants()
    assert {one.name for one in everybody} == {*SERVICES, "outside"}
    for topic in TOPICS:
        writers = [one.name for one in everybody if topic in one.writes]
        own = {message for message in messages_on(topic) if getattr(message, "topic", None) == topic}
        readers = [one.name for one in everybody if own & set(one.reads)]
        if ".events." in topic.name or topic in DEAD_LETTERS:
            # Of the audit log each service writes what has its own name for a key.
            assert len(writers) == (len(SERVICES) if topic == AUDIT_EVENTS else 1), topic.name
        else:
            assert len(readers) == 1, topic.name
            assert writers, topic.name


def test_the_planner_hears_a_refusal_where_it_asked() -> None:
    (planner,) = (one for one in participants() if one.name == "planner")
    on_maps = {message.__name__ for message in messages_on(VERSION_MAP_EVENTS) if message in planner.reads}
    assert on_maps == {"VersionMapRecorded", "VersionMapHeld", "VersionMapReleased", "CommandRefused"}
    results = ["StageBegun", "StageFinished", "BackupDeleted"]
    assert [message.__name__ for message in messages_on(STAGE_RESULTS)] == results


def test_the_reference_has_each_key_of_a_declaration_under_its_table() -> None:
    """Each key of the example stands below the heading of its table, once, and no pydantic word leaks."""
    page = project_file_reference()
    sections = {heading: rest for heading, _, rest in (each.partition("\n") for each in page.split("\n## "))}
    declared = tomllib.loads((EXAMPLES / "project" / "upgradepath.toml").read_text())
    environment = declared["environments"]["production"]
    for key in environment:
        assert sections["`[environments.production]`"].count(f"| `{key}` |") == 1
    for stage, checks in declared["checks"].items():
        for check in checks.values():
            (rows,) = [
                rest
                for heading, rest in sections.items()
                if f'`[checks.{stage}.NAME]` with `kind = "{check["kind"]}"`' in heading
            ]
            assert all(rows.count(f"| `{key}` |") == 1 for key in check)
    assert {"`[hosting]`", "`[prisma]`", "`[staging]`", "`[workflows]`"} <= sections.keys()
    assert "4194304" not in page
