"""A backup comes back: with its owners and rights, into an older server, by a role that is no superuser."""

from pathlib import Path

import pytest

from local.postgres import EmbeddedPostgres, postgres_bin_folder
from services.executor.clients.backup import Programs
from services.executor.clients.postgres import schema_description, session
from services.executor.clients.restore_plan import cannot_restore
from tests.executor.conftest import Made

# Each object of a user's schema with its owner, rights and comment, also those that no description has.
EVERYTHING = """
    SELECT found.type, found.identity, owner::regrole::text, acl::text, comment FROM (
        SELECT 'pg_class'::regclass AS class, oid, relnamespace AS schema, relowner AS owner, relacl AS acl,
            obj_description(oid, 'pg_class') AS comment FROM pg_class WHERE relkind IN ('r', 'v', 'S', 'm')
        UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, proowner, proacl,
            obj_description(oid, 'pg_proc') FROM pg_proc
        UNION ALL SELECT 'pg_namespace'::regclass, oid, oid, nspowner, nspacl,
            obj_description(oid, 'pg_namespace') FROM pg_namespace
    ) o JOIN pg_namespace n ON n.oid = o.schema, pg_identify_object(o.class, o.oid, 0) found
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'upgradepath')
    ORDER BY 1, 2
"""
UNTRUSTED = "pg_stat_statements"
"""An extension that only a superuser may create; it comes with PostgreSQL."""


async def execute(url: str, sql: str) -> None:
    async with session(url) as connection:
        await connection.execute(sql)


async def everything(url: str) -> list[tuple[object, ...]]:
    async with session(url) as connection:
        return [tuple(row) for row in await connection.fetch(EVERYTHING)]


async def there_and_back(url: str, folder: Path, change: str, programs: Programs) -> None:
    """Dump, change, restore: everything is as before."""
    before = await everything(url), await schema_description(url)
    await programs.dump(url, folder / "production.dump")
    await execute(url, change)
    assert (await everything(url), await schema_description(url)) != before
    await programs.restore(url, folder / "production.dump", (1, 1))
    assert (await everything(url), await schema_description(url)) == before


APP = """
    CREATE ROLE app_{role}; GRANT app_{role} TO {role};
    CREATE TABLE goods (id int PRIMARY KEY); INSERT INTO goods VALUES (1), (2);
    ALTER TABLE goods OWNER TO app_{role}; COMMENT ON TABLE goods IS 'what is sold';
    CREATE VIEW sold AS SELECT * FROM goods; GRANT SELECT ON sold TO app_{role};
    ALTER VIEW sold OWNER TO {role};
    CREATE FUNCTION mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
    ALTER FUNCTION mine() OWNER TO app_{role}; REVOKE ALL ON FUNCTION mine() FROM PUBLIC;
"""


@pytest.mark.parametrize("who", ["superuser", "plain role"])
async def test_owners_rights_and_comments_come_back(made: Made, tmp_path: Path, who: str) -> None:
    urls = await made(APP + "GRANT CREATE, USAGE ON SCHEMA public TO app_{role};")
    url = urls[0] if who == "superuser" else urls[1]
    programs = await Programs.for_server(url)
    assert await cannot_restore(url) == []
    await there_and_back(
        url, tmp_path, "DROP VIEW sold; ALTER TABLE goods ADD v int; DROP FUNCTION mine()", programs
    )
    async with session(url) as connection:
        assert await connection.fetchval("SELECT sum(id) FROM goods") == 3


async def test_what_another_owns_is_told_beforehand_with_the_right_that_is_missing(made: Made) -> None:
    _, url = await made("CREATE ROLE other_{role}; CREATE TABLE theirs (id int);"
                        " ALTER TABLE theirs OWNER TO other_{role}; CREATE TYPE mood AS ENUM ('calm');"
                        " CREATE TABLE ours (id int); ALTER TABLE ours OWNER TO {role};")  # fmt: skip
    theirs, supers = await cannot_restore(url)
    assert theirs.subject == "public.theirs"
    assert theirs.cure.startswith('GRANT "other_')
    # Whoever followed it would be a superuser, and be refused as one.
    assert (supers.subject, "GRANT" in supers.cure) == ("public.mood", False)
    assert supers.cure.startswith("ALTER … OWNER TO")


async def test_a_schema_in_which_the_role_may_make_nothing_again_is_told_with_the_grant(made: Made) -> None:
    """Else its things are dropped by a restore that stops at the first of them."""
    superuser, url = await made(
        "CREATE TABLE goods (id int); ALTER TABLE goods OWNER TO {role};"
        " ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    )
    (told,) = await cannot_restore(url)
    assert (told.subject, told.cure.startswith("GRANT CREATE ON SCHEMA public TO")) == ("SCHEMA public", True)
    await execute(superuser, told.cure)
    assert await cannot_restore(url) == []


@pytest.mark.parametrize(
    "script",
    [
        "CREATE EXTENSION {extension};",
        "CREATE SCHEMA tools; CREATE EXTENSION {extension} SCHEMA tools;"
        " GRANT USAGE ON SCHEMA tools TO PUBLIC;",
        "ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO {{role}};",
        "CREATE SCHEMA hosting_auth; CREATE TABLE hosting_auth.sessions (id int);"
        " INSERT INTO hosting_auth.sessions VALUES (7);",
    ],
    ids=["extension", "extension in a schema", "public of the administrator", "schema of the hosting"],
)
async def test_what_belongs_to_the_administrator_is_left_where_it_is(
    made: Made, tmp_path: Path, script: str
) -> None:
    _, url = await made(script.replace("{{role}}", "{role}"), extension=UNTRUSTED)
    await execute(url, "CREATE TYPE size AS ENUM ('s', 'l'); CREATE TABLE goods (id int PRIMARY KEY, s size)")
    await execute(url, "CREATE SCHEMA own; CREATE TABLE own.more (g int REFERENCES public.goods)")
    # A column of its key belongs to the table, which looks as if the table belonged to something.
    await execute(
        url,
        "CREATE TABLE sold (day int) PARTITION BY RANGE (day); CREATE TABLE sold_1 PARTITION OF sold DEFAULT",
    )
    await there_and_back(
        url,
        tmp_path,
        "ALTER TABLE goods ADD v int; CREATE FUNCTION late() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        " CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int); DROP SCHEMA own CASCADE;"
        " ALTER TYPE size ADD VALUE 'xl'",
        await Programs.for_server(url),
    )


async def test_programs_that_are_newer_than_the_server_bring_back_what_they_dumped(
    made: Made, tmp_path: Path
) -> None:
    url, _ = await made("CREATE TABLE goods (id int PRIMARY KEY); INSERT INTO goods VALUES (1);")
    await there_and_back(url, tmp_path, "DROP TABLE goods", Programs(postgres_bin_folder()))


async def test_the_servers_own_version_is_preferred(postgres_15: EmbeddedPostgres) -> None:
    programs = await Programs.for_server(
        postgres_15.url(), {"UPGRADES_POSTGRES_BIN": str(postgres_bin_folder())}
    )
    assert programs.folder == Path("/usr/lib/postgresql/15/bin")


# A restore leaves other bytes in the catalogues for each of these, and the same meaning.
SAID_OTHERWISE = """
    CREATE COLLATION plain FROM "C"; CREATE COLLATION posix FROM "POSIX";
    CREATE TABLE names (name text COLLATE plain, other text COLLATE posix);
    CREATE TABLE sold (id int NOT NULL, at int) PARTITION BY RANGE (id);
    CREATE TABLE sold_1 PARTITION OF sold FOR VALUES FROM (1) TO (10);
    CREATE TABLE sold_2 PARTITION OF sold DEFAULT;
    ALTER TABLE sold ADD PRIMARY KEY (id); ALTER TABLE sold DETACH PARTITION sold_2;
"""


async def test_what_a_restore_says_otherwise_is_no_other_schema(made: Made, tmp_path: Path) -> None:
    """Else a plan over it finds that production has drifted, and a backup that it did not come back."""
    _, plain = await made("GRANT ALL ON SCHEMA public TO {role};")
    await execute(plain, SAID_OTHERWISE)
    programs = await Programs.for_server(plain)
    await there_and_back(plain, tmp_path, "ALTER TABLE names ADD CHECK (name > '') NO INHERIT", programs)
