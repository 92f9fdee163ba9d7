"""`upgradepath plan …`: everything that a maintainer should know before opting in."""

import json

import pytest

from shared.contracts.impact import Lint, MigrationImpact, Probe, SqlRisk, StatementImpact, WayDown
from shared.contracts.run_words import BlockedBy
from shared.contracts.runs import RequestPlan
from tests.cli import documents
from tests.cli.conftest import Type
from tests.cli.small_services import Services


@pytest.fixture
def planned(services: Services) -> Services:
    plan = documents.plan()
    services.states = [documents.run()]
    services.documents[f"planner/runs/{documents.RUN}/plan"] = {
        "plan": plan.model_dump(mode="json"),
        "digest": plan.content_digest(),
    }
    return services


def test_create_asks_for_these_systems(upgradepath: Type, planned: Services) -> None:
    result = upgradepath("plan", "create", "acme-portal", "auth-system@1.3.0", "quote-engine")
    assert result.exit_code == 0, result.output
    command = planned.commands[0][0]
    assert isinstance(command, RequestPlan)
    assert command.systems == {"auth-system": "1.3.0", "quote-engine": None}
    assert f"upgradepath plan show {documents.RUN}" in result.stdout


def test_create_asks_to_add_and_to_remove(upgradepath: Type, planned: Services) -> None:
    """Catches options that do not reach the planner, and a request for nothing that does."""
    typed = ("--add", "ledger-system@0.1.0", "--add", "tax-system", "--remove", "quote-engine")
    result = upgradepath("plan", "create", "acme-portal", *typed)
    assert result.exit_code == 0, result.output
    command = planned.commands[0][0]
    assert isinstance(command, RequestPlan)
    assert command.systems == {}
    assert command.add == {"ledger-system": "0.1.0", "tax-system": None}
    assert command.remove == ("quote-engine",)
    nothing = upgradepath("plan", "create", "acme-portal")
    assert (nothing.exit_code, "--remove SYSTEM" in nothing.stderr) == (2, True)
    assert len(planned.commands) == 1


def test_create_can_wait_for_the_plan(upgradepath: Type, planned: Services) -> None:
    planned.states = [documents.run("planning", plan=None), documents.run()]
    result = upgradepath("plan", "create", "acme-portal", "auth-system", "--wait")
    assert result.exit_code == 0, result.output
    assert "POINT OF NO RETURN" in result.stdout
    assert "will conflict: " in result.stdout
    # It fits a screen: the SQL and the notes are a command further on.
    assert 'ADD COLUMN "status"' not in result.stdout
    assert f"upgradepath plan show {documents.RUN}" in result.stdout


def test_create_says_why_there_is_no_plan(upgradepath: Type, planned: Services) -> None:
    blocked = BlockedBy(who="maintainer", what="version-map.yaml differs", cures=("correct it",))
    planned.states = [
        documents.run("planning", plan=None),
        documents.run("waiting", plan=None, blocked_by=blocked),
    ]
    result = upgradepath("plan", "create", "acme-portal", "auth-system", "--wait")
    assert result.exit_code == 1
    assert "version-map.yaml differs" in result.stdout
    assert "correct it" in result.stdout


def test_show_tells_everything(upgradepath: Type, planned: Services) -> None:
    shown = upgradepath("plan", "show", documents.RUN)
    assert shown.exit_code == 0, shown.output
    for word in (
        "auth-system 1.2.4 → 1.3.0  minor",
        "Adds status.",
        "Ask the users.",
        "Does it break anything? no",
        "invite.toml depends on model.User",
        "signin.py  edited by the partner",
        "users.py  CONFLICT",
        "session_minutes: 15 kept",
        "event_retention_days: (none) → 90",
        'ADD COLUMN "status"',
        "way back: none: POINT OF NO RETURN",
        "risk: high",
        "a migration has no way back",
        "workflows/invite.toml: auth-system:model.User",
        f"upgradepath run start {documents.RUN}",
    ):
        assert word in shown.stdout, word
    assert "\x1b" not in shown.stdout


def test_the_point_of_no_return_is_bold_and_red_on_a_terminal(upgradepath: Type, planned: Services) -> None:
    assert (
        "\x1b[1;31mPOINT OF NO RETURN" in upgradepath("plan", "show", documents.RUN, FORCE_COLOR="1").stdout
    )


def test_a_reversible_plan_shows_the_way_back(upgradepath: Type, planned: Services) -> None:
    plan = documents.plan(reversible=True)
    document = planned.documents[f"planner/runs/{documents.RUN}/plan"]
    document["plan"] = plan.model_dump(mode="json")
    shown = upgradepath("plan", "show", documents.RUN).stdout
    assert "POINT OF NO RETURN" not in shown
    assert 'DROP COLUMN "status"' in shown
    assert "upgradepath run roll-back" in shown


def test_json_is_the_document_as_it_is(upgradepath: Type, planned: Services) -> None:
    shown = upgradepath("plan", "show", documents.RUN, "--json").stdout
    assert json.loads(shown) == planned.documents[f"planner/runs/{documents.RUN}/plan"]


def test_the_diff_is_given_byte_for_byte(upgradepath: Type, planned: Services) -> None:
    patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-\ta  [bold]x[/bold]\n+" + "b" * 300 + "\n"
    planned.documents[f"planner/runs/{documents.RUN}/diff"] = patch
    assert upgradepath("plan", "diff", documents.RUN).stdout == patch
    assert "\x1b[" in upgradepath("plan", "diff", documents.RUN, FORCE_COLOR="1").stdout


def test_what_a_migration_does_to_rows_is_shown(upgradepath: Type, planned: Services) -> None:
    plan = documents.plan()
    impact = MigrationImpact(
        kind="blocking",
        statements=(
            StatementImpact(
                line=2,
                statement="ALTER TABLE users ALTER status SET NOT NULL",
                kind="blocking",
                because=("all rows are read under a lock",),
                old_code="may fail",
                probes=(Probe(question="rows whose users.status is null", verdict="would fail", rows=1234),),
            ),
        ),
        lints=(Lint(line=2, rule="adding-not-nullable-field", message="It blocks reads."),),
        rows={"users": 2_500_000},
        risks=(SqlRisk(line=3, statement="TRUNCATE users", risk="every row of users goes", grave=True),),
    )
    way = WayDown(mark="restore only", source="none", because=("values of users.status are overwritten",))
    told = plan.migrations[0].model_copy(update={"impact": impact, "way_down": way})
    document = planned.documents[f"planner/runs/{documents.RUN}/plan"]
    document["plan"] = plan.model_copy(update={"migrations": (told,)}).model_dump(mode="json")
    shown = upgradepath("plan", "show", documents.RUN).stdout
    for words in (
        "20260302090000_auth-system_user_status  blocking  after activation",
        "rows in production: users 2,500,000",
        "line 2  blocking  all rows are read under a lock; the old code may fail",
        "would fail  1,234 rows whose users.status is null",
        "line 2  adding-not-nullable-field: It blocks reads.",
        "migration.sql line 3  risk  every row of users goes",
        "way back: none: RESTORE ONLY",
        "values of users.status are overwritten",
    ):
        assert words in shown, words
