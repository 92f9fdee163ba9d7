"""Which jobs are over: their commands cannot come again, and no later stage asks for what they did."""

from shared.storage.pruning import ON_THESE_PAGES, Prune, older

ANSWERED_JOBS = older("jobs", "accepted_at", "state in ('finished', 'cancelled') and lease_until is null")
"""For stages that change nothing: no other asks for their jobs."""

_SETTLED = (
    "not exists (select from jobs j where j.run_id = seen.run_id and (j.accepted_at >= $3"
    " or j.state in ('queued', 'leased') or j.lease_until is not null))"
)
# Until then the Run may be under way, or be the Project's last one, which can be rolled back years later.
_FOLLOWED = (
    "not exists (select from jobs w where w.run_id = seen.run_id and w.stage <> 'review' and not exists ("
    "select from jobs l where l.project_id = w.project_id and l.fence > w.fence and l.run_id <> w.run_id"
    " and l.stage = 'record' and l.state = 'finished' and l.result->'outcome'->>'kind' = 'succeeded'))"
)
# Its backup would lie there for ever: who deletes it finds it by the journal.
_WITHOUT_BACKUP = (
    "not exists (select from effects b where b.run_id = seen.run_id and b.stage = 'deploy'"
    " and b.name = 'backup' and not exists (select from effects d where d.run_id = b.run_id"
    " and d.name = 'backup deleted' and d.detail = b.detail and d.done_at is not null))"
)
RUNS_THAT_ARE_OVER = Prune(
    "jobs",
    f"with seen as (select distinct run_id from jobs where {ON_THESE_PAGES} and accepted_at < $3),"
    f" over as (select run_id from seen where {_SETTLED} and {_FOLLOWED} and {_WITHOUT_BACKUP}),"
    " effects_gone as (delete from effects where run_id in (select run_id from over) returning 1),"
    " gone as (delete from jobs where run_id in (select run_id from over) returning 1)"
    " select 'jobs', count(*) from gone union all select 'effects', count(*) from effects_gone",
)
"""For stages that change the world: a Run's jobs and its effect journal go together, once a later Run of its
Project has been recorded and its backups are deleted. One that was only reviewed goes by its age."""
