"""The statements of the workers' hot path: each does its part for a whole batch of jobs."""

from shared.storage.statement import HOLDS

WHAT_IS_KNOWN = (
    "select c.run_id, c.fence, j.run_id is not null as accepted, j.digest, j.result::text as result,"
    " coalesce((select max(o.fence) from jobs o where o.run_id = c.run_id), 0) as newest_of_run,"
    " coalesce((select max(o.fence) from jobs o"
    "  where o.project_id = c.project_id and o.stage <> 'review'), 0) as newest_write,"
    " exists (select from jobs o where o.project_id = c.project_id"
    "  and (o.state in ('queued', 'leased') or o.lease_until is not null)) as unsettled"
    " from unnest($1::text[], $2::bigint[], $3::text[])"
    " as c (run_id, fence, project_id)"
    " left join jobs j on j.run_id = c.run_id and j.fence = c.fence"
)

# Whether nothing is known of any of them: no such job or later one, and nothing that could be in the way.
ALL_NEW = (
    "select not exists (select from unnest($1::text[], $2::bigint[], $3::text[], $4::boolean[])"
    " as c (run_id, fence, project_id, writes)"
    " where (select max(o.fence) from jobs o where o.run_id = c.run_id) >= c.fence"
    " or (c.writes and (select max(o.fence) from jobs o"
    "  where o.project_id = c.project_id and o.stage <> 'review') >= c.fence)"
    " or exists (select from jobs o where o.project_id = c.project_id"
    "  and (o.state in ('queued', 'leased') or o.lease_until is not null))) as holds"
)

ADD_JOBS = (
    "insert into jobs (run_id, fence, project_id, stage, attempt, state, generation, digest, command, cause,"
    " worker, lease_until, accepted_at, started_at)"
    " select run_id, fence, project_id, stage, attempt, state, (state = 'leased')::int, digest,"
    " command::json, cause::json,"
    " case when state = 'leased' then $10::text end,"
    " case when state = 'leased' then now() + make_interval(secs => $11::float8) end,"
    " now(), case when state = 'leased' then now() end"
    " from unnest($1::text[], $2::bigint[], $3::text[],"
    " $4::text[], $5::int[], $6::text[], $7::text[],"
    " $8::text[], $9::text[])"
    " as n (run_id, fence, project_id, stage, attempt, state, digest, command, cause)"
    f" where {HOLDS}"
)

# A review changes nothing, so that of a new Run does not disturb the Run that is under way.
CANCEL_OLDER = (
    "update jobs j set state = 'cancelled'"
    " from unnest($1::text[], $2::bigint[], $3::text[],"
    " $4::boolean[]) as c (run_id, fence, project_id, writes)"
    " where j.project_id = c.project_id and j.fence < c.fence and j.state in ('queued', 'leased')"
    " and (j.run_id = c.run_id or (c.writes and j.stage <> 'review'))"
)

CANCEL = (
    "update jobs j set state = 'cancelled'"
    " from unnest($1::text[], $2::bigint[]) as c (run_id, fence)"
    " where j.run_id = c.run_id and j.fence = c.fence and j.state in ('queued', 'leased')"
)

LEASE = (
    "update jobs j set state = 'leased', generation = j.generation + 1, worker = $1::text,"
    " lease_until = now() + make_interval(secs => $2::float8), started_at = coalesce(j.started_at, now())"
    " from (select q.run_id, q.fence from jobs q where q.state in ('queued', 'leased')"
    "  and ((q.state = 'leased' and q.lease_until < now()) or (q.state = 'queued' and not exists ("
    # A job waits for what it supersedes: that work is being stopped, and must not act beside it.
    "   select from jobs o where o.project_id = q.project_id and o.fence < q.fence"
    "   and (o.run_id = q.run_id or (o.stage <> 'review' and q.stage <> 'review'))"
    "   and o.state = 'cancelled' and o.lease_until >= now())))"
    "  order by q.accepted_at, q.fence limit $3::int for update skip locked) as free"
    " where j.run_id = free.run_id and j.fence = free.fence"
    " returning j.command::text as command, j.cause::text as cause,"
    " j.generation"
)

EXTEND = (
    "update jobs j set lease_until = now() + make_interval(secs => $4::float8)"
    " from unnest($1::text[], $2::bigint[], $3::bigint[])"
    " as l (run_id, fence, generation)"
    " where j.run_id = l.run_id and j.fence = l.fence and j.generation = l.generation"
    " and j.state = 'leased' returning j.run_id, j.fence"
)

FINISH = (
    "update jobs j set state = 'finished', lease_until = null, result = l.result::json"
    " from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[])"
    " as l (run_id, fence, generation, result)"
    " where j.run_id = l.run_id and j.fence = l.fence and j.generation = l.generation"
    f" and j.state = 'leased' and {HOLDS}"
)

STILL_MINE = (
    "select count(*) = cardinality($1::text[]) as holds from (select 1 from jobs j"
    " join unnest($1::text[], $2::bigint[], $3::bigint[]) as l (run_id, fence, generation)"
    " using (run_id, fence, generation) where j.state = 'leased' for update of j) as mine"
)

# Of those that are: locked, so that nobody takes them away until the commit.
MINE = (
    "select j.run_id, j.fence from jobs j"
    " join unnest($1::text[], $2::bigint[], $3::bigint[]) as l (run_id, fence, generation)"
    " using (run_id, fence, generation) where j.state = 'leased' for update of j"
)

LET_GO = (
    "update jobs j set lease_until = null"
    " from unnest($1::text[], $2::bigint[], $3::bigint[])"
    " as l (run_id, fence, generation)"
    " where j.run_id = l.run_id and j.fence = l.fence and j.generation = l.generation"
    " and j.state = 'cancelled'"
)

FREE_LEASES = (
    "update jobs set state = case when state = 'leased' then 'queued' else state end, lease_until = null"
    " where worker = $1::text and lease_until is not null and state in ('leased', 'cancelled')"
)

TOUCHED_PRODUCTION = "select distinct run_id from effects where production and run_id = any($1::text[])"
