"""The statements of the workers' hot path: each does its part for a whole batch of jobs."""

from sqlalchemy import text

# Few enough that no batch fills the server's lock table, many enough that batches seldom meet.
_LOCKS = 64

LOCK_PROJECTS = text(
    # In one order for everybody, so that two batches never wait for each other.
    "select pg_advisory_xact_lock(471100300 + bucket) from"
    f" (select distinct abs(hashtext(project) % {_LOCKS}) as bucket"
    " from unnest(cast(:projects as text[])) as p (project) order by 1) as buckets"
)

WHAT_IS_KNOWN = text(
    "select c.run_id, c.fence, j.run_id is not null as accepted, j.digest, cast(j.result as text) as result,"
    " coalesce((select max(o.fence) from jobs o where o.run_id = c.run_id), 0) as newest_of_run,"
    " coalesce((select max(o.fence) from jobs o"
    "  where o.project_id = c.project_id and o.stage <> 'review'), 0) as newest_write,"
    " exists (select from jobs o where o.project_id = c.project_id"
    "  and (o.state in ('queued', 'leased') or o.lease_until is not null)) as unsettled"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[]), cast(:projects as text[]))"
    " as c (run_id, fence, project_id)"
    " left join jobs j on j.run_id = c.run_id and j.fence = c.fence"
)

ADD_JOBS = text(
    "insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, digest, command, cause,"
    " worker, lease_until, accepted_at, started_at)"
    " select run_id, fence, project_id, stage, attempt, state, cast(state = 'leased' as int), digest,"
    " cast(command as json), cast(cause as json),"
    " case when state = 'leased' then :worker end,"
    " case when state = 'leased' then now() + make_interval(secs => :lease_s) end,"
    " now(), case when state = 'leased' then now() end"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[]), cast(:projects as text[]),"
    " cast(:stages as text[]), cast(:attempts as int[]), cast(:states as text[]), cast(:digests as text[]),"
    " cast(:commands as text[]), cast(:causes as text[]))"
    " as n (run_id, fence, project_id, stage, attempt, state, digest, command, cause)"
)

# A review changes nothing, so that of a new Run does not disturb the Run that is under way.
CANCEL_OLDER = text(
    "update jobs j set state = 'cancelled'"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[]), cast(:projects as text[]),"
    " cast(:writes as boolean[])) as c (run_id, fence, project_id, writes)"
    " where j.project_id = c.project_id and j.fence < c.fence and j.state in ('queued', 'leased')"
    " and (j.run_id = c.run_id or (c.writes and j.stage <> 'review'))"
)

CANCEL = text(
    "update jobs j set state = 'cancelled'"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[])) as c (run_id, fence)"
    " where j.run_id = c.run_id and j.fence = c.fence and j.state in ('queued', 'leased')"
)

LEASE = text(
    "update jobs j set state = 'leased', generation = j.generation + 1, worker = :worker,"
    " lease_until = now() + make_interval(secs => :lease_s), started_at = coalesce(j.started_at, now())"
    " from (select q.run_id, q.fence from jobs q where q.state in ('queued', 'leased')"
    "  and ((q.state = 'leased' and q.lease_until < now()) or (q.state = 'queued' and not exists ("
    # A job waits for what it supersedes: that work is being stopped, and must not act beside it.
    "   select from jobs o where o.project_id = q.project_id and o.fence < q.fence"
    "   and (o.run_id = q.run_id or (o.stage <> 'review' and q.stage <> 'review'))"
    "   and o.state = 'cancelled' and o.lease_until >= now())))"
    "  order by q.accepted_at, q.fence limit :most for update skip locked) as free"
    " where j.run_id = free.run_id and j.fence = free.fence"
    " returning cast(j.command as text) as command, cast(j.cause as text) as cause,"
    " j.generation"
)

EXTEND = text(
    "update jobs j set lease_until = now() + make_interval(secs => :lease_s)"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[]), cast(:generations as bigint[]))"
    " as l (run_id, fence, generation)"
    " where j.run_id = l.run_id and j.fence = l.fence and j.generation = l.generation"
    " and j.state = 'leased' returning j.run_id, j.fence"
)

FINISH = text(
    "update jobs j set state = 'finished', lease_until = null, result = cast(l.result as json)"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[]), cast(:generations as bigint[]),"
    " cast(:results as text[])) as l (run_id, fence, generation, result)"
    " where j.run_id = l.run_id and j.fence = l.fence and j.generation = l.generation"
    " and j.state = 'leased' returning j.run_id, j.fence"
)

LET_GO = text(
    "update jobs j set lease_until = null"
    " from unnest(cast(:runs as text[]), cast(:fences as bigint[]), cast(:generations as bigint[]))"
    " as l (run_id, fence, generation)"
    " where j.run_id = l.run_id and j.fence = l.fence and j.generation = l.generation"
    " and j.state = 'cancelled'"
)

FREE_LEASES = text(
    "update jobs set state = case when state = 'leased' then 'queued' else state end, lease_until = null"
    " where worker = :worker and lease_until is not null and state in ('leased', 'cancelled')"
)

STILL_MINE = text(
    "select 1 from jobs where run_id = :run and fence = :fence and generation = :generation"
    " and state = 'leased' for update"
)

TOUCHED_PRODUCTION = text(
    "select distinct run_id from effects where production and run_id = any(cast(:runs as text[]))"
)
