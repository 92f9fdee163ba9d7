"""Notes for the audit log as a part of a commit, and the triggers that keep the log's tables.

Triggers refuse every other change by the service's role. Who may drop a trigger can do more; that is what the
published heads are for.
"""

from collections.abc import Sequence

from shared.storage.statement import HOLDS, Part

_NOTE = (
    "insert into audit_waiting (note) select note::json from unnest($1::text[]) with ordinality"
    f" as new (note, place) where {HOLDS} order by place"
)

APPEND_ONLY = (
    """
    create function audit_is_append_only() returns trigger language plpgsql as $$
    begin
        raise exception 'the audit log takes new entries only: % of % is refused', tg_op, tg_table_name
            using errcode = 'insufficient_privilege';
    end $$
    """,
    """
    create function audit_note_is_sealed() returns trigger language plpgsql as $$
    begin
        if not exists (select from audit where waiting = old.id) then
            raise exception 'the note % waits to be sealed: it stays', old.id
                using errcode = 'insufficient_privilege';
        end if;
        return old;
    end $$
    """,
    "create trigger audit_append_only before update or delete or truncate on audit"
    " for each statement execute function audit_is_append_only()",
    "create trigger audit_waiting_stays before update or truncate on audit_waiting"
    " for each statement execute function audit_is_append_only()",
    "create trigger audit_waiting_until_sealed before delete on audit_waiting"
    " for each row execute function audit_note_is_sealed()",
)


def note_part(notes: Sequence[str]) -> list[Part]:
    """Adds them; none if there are none."""
    return [Part(_NOTE, (list(notes),))] if notes else []
