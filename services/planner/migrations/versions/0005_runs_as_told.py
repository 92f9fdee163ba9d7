"""A Run is kept as its last event tells it, beside what never changes; its timer is looked for lazily."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ORIGIN = ("registration", "upgrades", "pins_after")
_WORK = (
    *("prepared", "applied", "migrated", "checked", "deployed", "base", "production_schema", "tries"),
    *("deploy_began", "holds_map", "recorded", "backup", "restore_backup", "ending", "wake_at", "asked"),
    "awaits_thaw",
)


def upgrade() -> None:
    for name in ("told", "origin", "plan_document"):
        op.add_column("runs", sa.Column(name, sa.String))
    connection = op.get_bind()
    read = connection.execute(sa.text("select id, revision, state::text from runs"))
    for name, number, state in read.all():
        connection.execute(
            sa.text("update runs set told = :told, origin = :origin, plan_document = :plan where id = :id"),
            {"id": name, **_as_told(json.loads(state), number)},
        )
    op.alter_column("runs", "told", nullable=False)
    op.alter_column("runs", "origin", nullable=False)
    op.drop_column("runs", "state")
    op.alter_column("runs", "wake_at", new_column_name="look_at")
    # An event is written once for each step: compressed, it would cost more than it saves; and with room in
    # its page, a row that changes touches no index.
    op.execute("alter table runs alter column told set storage external")
    op.execute("alter table runs set (fillfactor = 70)")


def _as_told(state: dict[str, object], number: int) -> dict[str, str | None]:
    plan = state.pop("plan_document", None)
    origin = {name: state.pop(name) for name in _ORIGIN}
    work = {name: state.pop(name) for name in _WORK if name in state}
    return {
        "told": json.dumps({"run": state, "revision": number, "work": work}),
        "origin": json.dumps(origin),
        "plan": None if plan is None else json.dumps(plan),
    }
