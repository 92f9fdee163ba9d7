"""Scripts that a Release must not bring, by what they would do."""

REFUSED: dict[str, str] = {
    # Programs and files of the server
    "runs a program with rows": "COPY (SELECT 1) TO PROGRAM 'id'",
    "takes rows from a program": "CREATE TABLE t (a text); COPY t FROM PROGRAM 'cat /etc/passwd'",
    "reads a file into a table": "CREATE TABLE t (a text); COPY t FROM '/etc/passwd'",
    "writes a file": "COPY (SELECT 'x') TO '/tmp/x'",
    "imports a file as a large object": "SELECT lo_import('/etc/passwd')",
    "exports a large object": "SELECT lo_export(1, '/tmp/x')",
    "reads a file": "SELECT pg_read_file('/etc/passwd')",
    "reads a file's bytes": "SELECT pg_read_binary_file('/etc/passwd')",
    "lists a folder": "SELECT pg_ls_dir('/')",
    "lists a folder as rows": "SELECT * FROM pg_ls_dir('/') AS f (name)",
    "lists the server's logs": "SELECT * FROM pg_ls_logdir()",
    "looks at a file": "SELECT (pg_stat_file('/etc/passwd')).size",
    "writes a file with adminpack": "SELECT pg_file_write('x', 'y', true)",
    "reads a file as a column of a text": "SELECT ('PG_VERSION'::text).pg_read_file",
    "reads a file as a column of a call": "SELECT f.pg_read_file FROM unnest(ARRAY['PG_VERSION']) AS f",
    "reads a file in an order": "SELECT 1 FROM unnest(ARRAY['x']) AS f ORDER BY (f).pg_read_file",
    "reads a file by a quoted name": 'SELECT pg_catalog . /* hidden */ "pg_read_file"(\'x\')',
    "reads a file by a name in escapes": "SELECT U&\"\\0070g_read_file\"('x')",
    "reads a file by an array of arguments": "SELECT Pg_Read_File(VARIADIC ARRAY['x'])",
    "sees who may connect from where": "SELECT * FROM pg_hba_file_rules()",
    # Roles
    "makes a superuser": "CREATE ROLE evil SUPERUSER LOGIN",
    "makes a user": "CREATE USER evil PASSWORD 'x'",
    "makes a group": "CREATE GROUP evil",
    "alters a role": "ALTER ROLE postgres SUPERUSER",
    "alters a role's settings": "ALTER ROLE postgres SET search_path = evil",
    "drops a role": "DROP ROLE IF EXISTS evil",
    "joins a role": "GRANT pg_read_server_files TO CURRENT_USER",
    "leaves a role": "REVOKE pg_monitor FROM evil",
    "takes what others own": "REASSIGN OWNED BY evil TO CURRENT_USER",
    "drops what others own": "DROP OWNED BY evil",
    "changes what others grant": "ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT SELECT ON TABLES TO evil",
    "becomes somebody else": "SET ROLE postgres",
    "becomes somebody else for a while": "SET LOCAL ROLE postgres",
    "becomes who it was": "RESET ROLE",
    "becomes somebody else by the standard": "SET SESSION AUTHORIZATION postgres",
    "becomes somebody else by a function": "SELECT set_config('role', 'postgres', false)",
    "becomes somebody else in two words": "SELECT pg_catalog.set_config('ro' || 'le', 'postgres', false)",
    "names a setting while it runs": "SELECT set_config(current_setting('x.y', true), 'postgres', false)",
    "becomes somebody else by a view": "UPDATE pg_settings SET setting = 'postgres' WHERE name = 'role'",
    "a function becomes somebody else": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = 'postgres' AS 'SELECT 1'"
    ),
    "reads passwords": "SELECT rolpassword FROM pg_authid",
    "labels a role": "SECURITY LABEL ON ROLE postgres IS 'x'",
    "comments a role": "COMMENT ON ROLE postgres IS 'x'",
    # The server and its settings
    "changes the server's settings": "ALTER SYSTEM SET archive_command = 'id'",
    "reads the settings anew": "SELECT pg_reload_conf()",
    "lets others set the server's settings": "GRANT SET ON PARAMETER log_statement TO PUBLIC",
    "switches triggers and references off": "SET session_replication_role = replica",
    "changes how strings are read": "SET standard_conforming_strings = off",
    "changes how letters are read": "SET client_encoding = 'SJIS'",
    "loads a library": "LOAD 'evil'",
    "loads a library in each session": "SET session_preload_libraries = 'evil'",
    "ends other sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "interrupts other sessions": "SELECT pg_cancel_backend(1)",
    "switches the log": "SELECT pg_switch_wal()",
    "turns a standby into a primary": "SELECT pg_promote()",
    "rotates the logs": "SELECT pg_rotate_logfile()",
    "begins a backup": "SELECT pg_backup_start('x')",
    "makes everybody write": "CHECKPOINT",
    "makes a tablespace": "CREATE TABLESPACE evil LOCATION '/tmp/evil'",
    "drops a tablespace": "DROP TABLESPACE evil",
    "puts a table elsewhere": "CREATE TABLE t (a int) TABLESPACE evil",
    "moves a table elsewhere": "ALTER TABLE t SET TABLESPACE evil",
    "puts all tables elsewhere": "SET default_tablespace = evil",
    # Other databases and servers
    "makes a database": "CREATE DATABASE other",
    "drops a database": "DROP DATABASE other WITH (FORCE)",
    "alters a database": "ALTER DATABASE other CONNECTION LIMIT 0",
    "alters a database's settings": "ALTER DATABASE other SET search_path = evil",
    "signs a database as an upgrade's own": "COMMENT ON DATABASE other IS 'upgradepath run x'",
    "gives rights on a database": "GRANT CREATE ON DATABASE other TO evil",
    "renames a database": "ALTER DATABASE other RENAME TO evil",
    "owns a database": "ALTER DATABASE other OWNER TO evil",
    "queries another server": "SELECT * FROM dblink('host=evil', 'SELECT 1') AS t (a int)",
    "keeps a connection to another server": "SELECT public.dblink_connect_u('host=evil')",
    "makes a wrapper": "CREATE FOREIGN DATA WRAPPER evil",
    "makes a server": "CREATE SERVER evil FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'evil')",
    "maps a user": "CREATE USER MAPPING FOR CURRENT_USER SERVER evil OPTIONS (user 'x')",
    "makes a foreign table": "CREATE FOREIGN TABLE t (a int) SERVER evil",
    "takes all tables of another server": "IMPORT FOREIGN SCHEMA public FROM SERVER evil INTO public",
    "drops a foreign table": "DROP FOREIGN TABLE t",
    "calls a web service": "SELECT http_get('http://169.254.169.254/')",
    "calls a web service later": "SELECT net.http_post('http://evil/')",
    "runs a job each minute": "SELECT cron.schedule('* * * * *', 'SELECT 1')",
    "writes a job": "INSERT INTO cron.job (command) VALUES ('SELECT 1')",
    "sends its rows away": "CREATE PUBLICATION p FOR ALL TABLES",
    "takes rows of others": "CREATE SUBSCRIPTION s CONNECTION 'host=evil' PUBLICATION p",
    "keeps the server's logs forever": "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    # Code
    "makes an untrusted language": "CREATE EXTENSION plpython3u",
    "makes a wrapper by an extension": "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
    "makes files into tables": "CREATE EXTENSION file_fdw",
    "makes jobs": "CREATE EXTENSION pg_cron",
    "makes an extension nobody knows": 'CREATE EXTENSION "evil" CASCADE',
    "adds to an extension": "ALTER EXTENSION citext ADD FUNCTION f()",
    "makes a language": "CREATE LANGUAGE plpython3u",
    "calls the C library": "CREATE FUNCTION f(cstring) RETURNS int AS 'libc.so.6', 'system' LANGUAGE C",
    "calls the server's own code": "CREATE FUNCTION f(text) RETURNS text AS 'pg_read_file' LANGUAGE internal",
    "runs Python": "CREATE FUNCTION f() RETURNS int AS 'import os' LANGUAGE plpython3u",
    "runs Python at once": "DO LANGUAGE plpython3u $$ import os $$",
    "runs Perl": "CREATE PROCEDURE f() AS '' LANGUAGE plperlu",
    "fires on everybody's statements": "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "alters an event trigger": "ALTER EVENT TRIGGER e DISABLE",
    "makes an access method": "CREATE ACCESS METHOD m TYPE TABLE HANDLER heap_tableam_handler",
    "makes an operator class": (
        "CREATE OPERATOR CLASS c FOR TYPE int4 USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4)"
    ),
    "makes a type of bytes": "CREATE TYPE e (INPUT = boolin, OUTPUT = boolout)",
    "casts bytes": "CREATE CAST (int8 AS money) WITHOUT FUNCTION",
    # A forbidden function in another place
    "an operator reads files": "CREATE OPERATOR @@@ (FUNCTION = pg_read_file, RIGHTARG = text)",
    "an aggregate lists folders": "CREATE AGGREGATE a (text) (SFUNC = pg_catalog.pg_ls_dir, STYPE = text)",
    "a cast reads files": "CREATE CAST (text AS oid) WITH FUNCTION lo_import(text)",
    "a default reads a file": "CREATE TABLE t (a text DEFAULT pg_read_file('x'))",
    "a check reads a file": "ALTER TABLE t ADD CHECK (pg_read_file(a) <> '')",
    "a generated column reads a file": (
        "CREATE TABLE t (a text GENERATED ALWAYS AS (pg_read_file('x')) STORED)"
    ),
    "an index reads a file": "CREATE INDEX i ON t (pg_read_file(a))",
    "part of an index reads a file": "CREATE INDEX i ON t (a) WHERE pg_read_file(a) = ''",
    "a view reads a file": "CREATE VIEW v AS SELECT pg_read_file('x')",
    "a rule ends sessions": "CREATE RULE r AS ON INSERT TO t DO ALSO SELECT pg_terminate_backend(1)",
    "a policy reads a file": "CREATE POLICY p ON t USING (pg_read_file(a) = '')",
    "a trigger's condition reads a file": (
        "CREATE TRIGGER g AFTER UPDATE ON t FOR EACH ROW WHEN (lo_import(OLD.a) = 1) EXECUTE FUNCTION f()"
    ),
    "a domain reads a file": "CREATE DOMAIN d AS text CHECK (pg_read_file(VALUE) = '')",
    "a column's new type reads a file": "ALTER TABLE t ALTER a TYPE text USING pg_read_file(a)",
    "a subquery reads a file": "UPDATE t SET a = (SELECT pg_read_file('x')) WHERE a IS NULL",
    "a query's plan reads a file": "EXPLAIN ANALYZE SELECT pg_read_file('x')",
    "a prepared query reads a file": "PREPARE q AS SELECT pg_read_file('x')",
    "a part of a schema reads a file": "CREATE SCHEMA s CREATE VIEW v AS SELECT pg_read_file('x')",
    "a body of SQL reads a file": (
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT pg_read_file('x') $$"
    ),
    "a parsed body reads a file": (
        "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT pg_read_file('x'); END"
    ),
    "a parameter's default reads a file": (
        "CREATE FUNCTION f(a text DEFAULT pg_read_file('x')) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    ),
    "a query in a text reads a file": "SELECT query_to_xml('SELECT pg_read_file(''x'')', true, true, '')",
    "a query of words reads a file": "SELECT * FROM ts_stat('SELECT pg_read_file(''x'')')",
    "the returned rows read a file": "DELETE FROM t WHERE a = '' RETURNING pg_read_file('x')",
    # Blocks
    "a block drops a database": "DO $$ BEGIN EXECUTE 'DROP DATABASE other'; END $$",
    "a block runs a program": "DO $$ BEGIN COPY t TO PROGRAM 'id'; END $$",
    "a block becomes somebody else": "DO 'BEGIN SET ROLE postgres; END'",
    "a block in a block": "DO $a$ BEGIN EXECUTE 'DO $b$ BEGIN PERFORM pg_ls_dir(''.''); END $b$'; END $a$",
    "a block makes a role if it is not there": (
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'e')\n"
        "THEN CREATE ROLE e; END IF; END $$"
    ),
    "a block puts words together": "DO $$ BEGIN EXECUTE 'ALTER ' || 'SYSTEM SET a.b = 1'; END $$",
    "a block formats": "DO $$ DECLARE n text := 'x'; BEGIN EXECUTE format('DROP DATABASE %I', n); END $$",
    "a block puts two unknown words in": (
        "DO $$ DECLARE n text; BEGIN EXECUTE 'COPY ' || n || ' TO PROGRAM ' || quote_literal(n); END $$"
    ),
    "a block leaves options open": (
        "DO $$ DECLARE n text; BEGIN EXECUTE format('CREATE ROLE %I WITH %s', n, n); END $$"
    ),
    "a block has a value with such a column": "DO $$ DECLARE r text; BEGIN PERFORM (r).pg_read_file; END $$",
    "a function of one's own gets it as a text": "SELECT run_it('ALTER SYSTEM SET a.b = 1')",
    "a variable is put together": (
        "DO $$ DECLARE q text; BEGIN q := 'ALTER ' || 'ROLE x SUPERUSER'; EXECUTE q; END $$"
    ),
    "a variable has an unknown end": (
        "DO $$ DECLARE q text; n text; BEGIN q := 'DROP DATABASE ' || n; EXECUTE q; END $$"
    ),
    "a block has its SQL in a variable": "DO $$ DECLARE q text := 'CREATE ROLE e'; BEGIN EXECUTE q; END $$",
    "a block takes an answer": "DO $$ DECLARE a text; BEGIN a := pg_read_file('x'); END $$",
    "a block declares an answer": "DO $$ DECLARE a text DEFAULT pg_read_file('x'); BEGIN NULL; END $$",
    "a block asks in a condition": "DO $$ BEGIN IF pg_read_file('x') = '' THEN NULL; END IF; END $$",
    "a block asks in a loop": (
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT pg_ls_dir('.') LOOP END LOOP; END $$"
    ),
    "a block asks as it raises": "DO $$ BEGIN RAISE NOTICE '%', pg_read_file('x'); END $$",
    "a block asks as it handles": (
        "DO $$ BEGIN NULL; EXCEPTION WHEN OTHERS THEN PERFORM pg_read_file('x'); END $$"
    ),
    "a block asks in a cursor": (
        "DO $$ DECLARE c CURSOR FOR SELECT pg_read_file('x'); BEGIN OPEN c; CLOSE c; END $$"
    ),
    "a block asks in a subscript": "DO $$ DECLARE a int[]; BEGIN a[length(pg_read_file('x'))] := 1; END $$",
    "a block asks for its arguments": "DO $$ BEGIN EXECUTE 'SELECT $1' USING pg_read_file('x'); END $$",
    "a block returns": (
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN pg_read_file('x'); END $$"
    ),
    "a trigger's function reads a file": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
        "NEW.a := pg_read_file('x'); RETURN NEW; END $$"
    ),
    # What is the upgrade's own, Prisma's, or the server's
    "drops the upgrade's record": "DROP SCHEMA upgradepath CASCADE",
    "raises the fence": 'UPDATE "upgradepath"."fence" SET fence = 0 WHERE true',
    "takes the upgrade's schema first": "CREATE SCHEMA IF NOT EXISTS upgradepath",
    "renames the upgrade's schema": "ALTER SCHEMA upgradepath RENAME TO other",
    "writes by the search path": "SET search_path = public, upgradepath",
    "writes by the search path's function": "SELECT set_config('search_path', 'upgradepath', false)",
    "moves a table there": "ALTER TABLE t SET SCHEMA upgradepath",
    "drops a table of it by a function": "SELECT DropGeometryTable('upgradepath', 'fence')",
    "makes a copy of what ran": "CREATE TABLE t (LIKE _prisma_migrations)",
    "inherits the fence": "CREATE TABLE t () INHERITS (upgradepath.fence)",
    "makes a type there": "CREATE TYPE pg_catalog.x AS ENUM ('a')",
    "drops a function there": "DROP FUNCTION pg_catalog.lower(text)",
    "forgets what ran": "DELETE FROM _prisma_migrations",
    "says that it ran": "INSERT INTO public._prisma_migrations (id) VALUES ('x')",
    "a trigger on what ran": (
        "CREATE TRIGGER g BEFORE INSERT ON _prisma_migrations FOR EACH ROW EXECUTE FUNCTION f()"
    ),
    "takes what ran away": "ALTER TABLE _prisma_migrations RENAME TO other",
    "comes in its place": "ALTER TABLE t RENAME TO _prisma_migrations",
    "owns what ran": "ALTER TABLE _prisma_migrations OWNER TO evil",
    "drops it with its schema": "DROP SCHEMA public CASCADE",
    "moves it with its schema": "ALTER SCHEMA public RENAME TO other",
    "truncates what ran": "TRUNCATE t, _prisma_migrations",
    "unlocks other workers": "SELECT pg_advisory_unlock(72707369)",
    "unlocks other workers by a sum": "SELECT pg_advisory_unlock(72707368 + 1)",
    "unlocks everything": "SELECT pg_advisory_unlock_all()",
    "gives up its session": "DISCARD ALL",
    "commits what others prepared": "COMMIT PREPARED 'x'",
    "writes the catalogue": "UPDATE pg_catalog.pg_class SET relname = 'x' WHERE relname = 'y'",
    "writes the catalogue by its plain name": "DELETE FROM pg_enum WHERE enumlabel = 'x'",
    "makes a function there": "CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "gives rights on the catalogue": "GRANT ALL ON ALL TABLES IN SCHEMA pg_catalog TO evil",
    # Functions that are called without a call, and names in another spelling
    "a block has an option of the compiler": (
        "DO $$ #variable_conflict use_column BEGIN PERFORM pg_read_file('x'); END $$"
    ),
    "a block has two options": (
        "DO $$ #option dump #print_strict_params on BEGIN EXECUTE 'CREATE ROLE x'; END $$"
    ),
    "a block has an option nobody knows": "DO $$ #other BEGIN NULL; END $$",
    "an aggregate sets": "CREATE AGGREGATE a (text, boolean) (SFUNC = set_config, STYPE = text)",
    "an aggregate sets by a text": "CREATE AGGREGATE a (text, boolean) (SFUNC = 'set_config', STYPE = text)",
    "an aggregate runs a text": (
        "CREATE AGGREGATE a (text) (SFUNC = textcat, STYPE = text, FINALFUNC = pg_catalog.ts_stat)"
    ),
    "an operator unlocks": "CREATE OPERATOR @@@ (FUNCTION = pg_advisory_unlock, RIGHTARG = int8)",
    "an operator calls a web service": "CREATE OPERATOR @@@ (FUNCTION = net.http_get, RIGHTARG = text)",
    "a cast runs a text": "CREATE CAST (text AS e) WITH FUNCTION crosstab(text)",
    "unlocks as an attribute": "SELECT (72707369::bigint).pg_advisory_unlock",
    "unlocks as a column": "SELECT f.pg_advisory_unlock FROM unnest(ARRAY[72707369::bigint]) AS f",
    "runs a text as an attribute": "SELECT ('SELECT pg_read_file(''x'')'::text).ts_stat",
    "gives a text to its own function": "SELECT ('ALTER SYSTEM SET a.b = 1'::text).run_it",
    "counts on in the record": "SELECT ('upgradepath.s'::regclass).nextval",
    "a function is called otherwise": "ALTER FUNCTION set_config(text, text, boolean) RENAME TO harmless",
    "a view sets": "CREATE VIEW s AS SELECT * FROM pg_settings",
    "a view of the catalogue sets": "CREATE TEMP VIEW s AS SELECT name, setting FROM pg_catalog.pg_settings",
    "a rule sets": "CREATE RULE r AS ON INSERT TO t DO INSTEAD SELECT * FROM pg_settings",
    "writes by a path in capitals": "SELECT set_config('search_path', 'UPGRADEPATH, public', false)",
    "counts in capitals": "SELECT setval('UPGRADEPATH.x', 1)",
    "counts with spaces": "SELECT setval(' \"upgradepath\" . x', 1)",
    "counts by a named argument": "SELECT my_setval(name => 'upgradepath.x')",
    "jobs by the search path": "SET search_path = cron, public",
    "jobs by the search path's function": "SELECT set_config('search_path', 'public, \"cron\"', false)",
    "jobs by a function's search path": "ALTER FUNCTION f() SET search_path = net",
    "a trigger calls a web service": (
        "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION supabase_functions.http_request('x')"
    ),
    "a trigger calls another": "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION net.x()",
    "asks a model": "SELECT google_ml.embedding('x', 'y'), azure_ai.set_setting('x', 'y')",
    "runs on all nodes": "SELECT run_command_on_all_nodes('SELECT 1')",
    "runs on the coordinator": "SELECT run_command_on_coordinator('SELECT 1')",
    "runs on placements": "SELECT run_command_on_placements('t', 'SELECT 1')",
    "runs on placements together": "SELECT run_command_on_colocated_placements('t', 'u', 'SELECT 1')",
    "adds a node": "SELECT citus_add_node('evil', 5432)",
    "adds a node in older words": "SELECT master_add_node('evil', 5432)",
    "adds a node of rows": "SELECT add_data_node('x', host => 'evil')",
    "runs on each node": "CALL distributed_exec('SELECT 1')",
    "reads how the server was built": "SELECT * FROM pg_config",
    "a sample by a function": "SELECT 1 FROM t TABLESAMPLE pg_read_file (1)",
    "reads a file for the planner": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SUPPORT pg_read_file AS 'SELECT 1'"
    ),
    "drops an index of the catalogue": "DROP INDEX pg_class_oid_index",
    "a block runs one of two": (
        "DO $$ BEGIN EXECUTE 'DROP DATABASE other' UNION SELECT 'DROP DATABASE other'; END $$"
    ),
    "a block puts one of two together": (
        "DO $$ BEGIN EXECUTE 'SELECT 1' UNION SELECT 'DROP ' || 'DATABASE other'; END $$"
    ),
    "gets a text of two lines": "SELECT run_it('ALTER\nSYSTEM\nSET a.b=1')",
    "gets a text with remarks": "SELECT run_it('DROP/**/DATABASE/**/other')",
    "gets a text that begins otherwise": "SELECT run_it('BEGIN; DROP DATABASE other')",
    "gets a text that tells": "SELECT run_it('NOTIFY a; DROP DATABASE other')",
    # A point that calls, and settings and functions that nobody has permitted
    "a point calls with a function's row": (
        """SELECT r.http FROM json_populate_record(NULL::http_request, '{"method": "GET"}') AS r"""
    ),
    "a point calls with a function's row without a name": "SELECT unnest.dblink FROM unnest(ARRAY['x'])",
    "a point calls with a query's row": "SELECT s.http FROM (SELECT 'GET', 'http://evil/') AS s",
    "a point calls with the row of WITH": "WITH s AS (SELECT 'GET', 'u') SELECT s.http FROM s",
    "a point calls with the row of WITH by another name": (
        "WITH s AS (SELECT 'GET', 'u') SELECT t.http FROM s AS t"
    ),
    "a point calls with a join's row": "SELECT j.http FROM (a CROSS JOIN b) AS j",
    "a point calls in a block": (
        "DO $$ DECLARE n int; BEGIN SELECT s.http INTO n FROM (SELECT 'GET', 'u') AS s; END $$"
    ),
    "a point calls with a parameter": (
        "CREATE FUNCTION f(r text) RETURNS text LANGUAGE sql AS 'SELECT r.dblink'"
    ),
    "a point calls with a parameter that is called as a row of a rule": (
        "CREATE FUNCTION f(old http_request) RETURNS http_response LANGUAGE sql AS 'SELECT old.http'"
    ),
    "a point calls with a parameter that is called as a row in conflict": (
        "CREATE FUNCTION f(excluded public.http_request) RETURNS record LANGUAGE sql AS\n"
        "'SELECT excluded.http'"
    ),
    "a point calls with a parameter that is called as a table elsewhere": (
        "CREATE FUNCTION f(t http_request) RETURNS record LANGUAGE sql AS\n"
        "'SELECT (SELECT 1 FROM x AS t LIMIT 1), t.http'"
    ),
    "a point calls with a parameter behind its function's name": (
        "CREATE FUNCTION f(t text) RETURNS record LANGUAGE sql AS 'SELECT f.t.dblink FROM t'"
    ),
    "a point calls with a parameter behind a row's older values": (
        "CREATE PROCEDURE p(INOUT old text) LANGUAGE sql AS\n"
        "'INSERT INTO t VALUES (1) RETURNING (SELECT old.dblink)'"
    ),
    "a point calls with a parameter of a parsed body": (
        "CREATE FUNCTION f(new text) RETURNS record BEGIN ATOMIC SELECT new.dblink; END"
    ),
    "a point calls with a parameter of a function that a block makes": (
        "DO $$ BEGIN CREATE FUNCTION f(r text) RETURNS record RETURN r.dblink; END $$"
    ),
    "a point calls with what a join has in common": (
        "DO $$ BEGIN PERFORM j.http FROM a JOIN b USING (method, uri) AS j; END $$"
    ),
    "a point calls with a value that the server names": (
        "DO $$ BEGIN PERFORM \"coalesce\".dblink FROM coalesce('x'::text); END $$"
    ),
    "a table becomes one of requests": (
        "CREATE TABLE t (method http_method, uri varchar, headers http_header[], content_type varchar,\n"
        "content varchar); ALTER TABLE t OF http_request; SELECT t.http FROM t"
    ),
    "a table becomes one of requests in a schema": "ALTER TABLE s.t ADD a int, OF public.http_request",
    "a point waits": "SELECT t.pg_sleep FROM unnest(ARRAY[1e9::float8]) AS t",
    "a point waits for an attribute": "SELECT (1e9::float8).pg_sleep",
    "a table of requests": "CREATE TABLE r OF http_request",
    "a table becomes requests by itself": (
        "CREATE CAST (t AS http_request) WITH FUNCTION f(t) AS IMPLICIT"
    ),
    "a table becomes text by itself": "CREATE CAST (t AS text) WITH FUNCTION f(t) AS IMPLICIT",
    "a language runs code as it starts": "SET plperl.on_init = 'system(1)'",
    "a function's setting runs code": "ALTER FUNCTION f() SET pljava.vmoptions = 'x'",
    "a web service goes by another way": "SELECT set_config('http.curlopt_proxy', 'evil', false)",
    "a commit is lost": "SET synchronous_commit = off",
    "nobody may write": "SET default_transaction_read_only TO on",
    "nobody may write in the session": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "rows lie in another way": "SET default_table_access_method = evil",
    "a setting of the server": "SET archive_command = 'id'",
    "a setting nobody knows": "SET some_unknown = 1",
    "a function of a later server": "SELECT pg_catalog.pg_function_of_19('x')",
    "a function nobody knows": "SELECT pg_read_file_v2('x')",
    "a tree of a query": "SELECT connectby('(SELECT pg_read_file(''x'')) q', 'a', 'b', '1', 0)",
    "rights on what runs elsewhere": "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA net TO app",
    # What belongs to the server, by names that statements give in other places
    "changes how the server reads words": "ALTER TEXT SEARCH DICTIONARY pg_catalog.simple (Accept = false)",
    "changes what the server finds": (
        "ALTER TEXT SEARCH CONFIGURATION pg_catalog.english DROP MAPPING FOR uint"
    ),
    "drops what the server finds": "DROP TEXT SEARCH CONFIGURATION pg_catalog.english",
    "renames what the server finds": "ALTER TEXT SEARCH CONFIGURATION pg_catalog.english RENAME TO x",
    "changes an operator": "ALTER OPERATOR pg_catalog.= (text, text) SET (RESTRICT = NONE)",
    "changes a type": "ALTER TYPE pg_catalog.text SET (STORAGE = plain)",
    "drops an order of letters": 'DROP COLLATION pg_catalog."C"',
    "changes an order of letters": 'ALTER COLLATION pg_catalog."C" REFRESH VERSION',
    "makes statistics there": "CREATE STATISTICS pg_catalog.s ON a, b FROM t",
    "drops a rule of the catalogue": "DROP RULE r ON pg_catalog.pg_class",
    "drops a policy of the catalogue": "DROP POLICY p ON pg_catalog.pg_class",
    "locks the catalogue for long": "VACUUM FULL pg_catalog.pg_class",
    "writes the catalogue anew": "CLUSTER pg_class USING pg_class_oid_index",
    "gives rights to write it": "GRANT UPDATE ON pg_catalog.pg_proc TO evil",
    "gives rights on its functions": "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO evil",
    "puts an extension there": "CREATE EXTENSION citext SCHEMA pg_catalog",
    "makes the upgrade's schema by its owner's name": "CREATE SCHEMA AUTHORIZATION upgradepath",
    "works on a whole database": "REINDEX DATABASE CONCURRENTLY other",
    # What reads past rights, and texts that others run
    "reads passwords by a text": "SELECT table_to_xml('pg_authid', true, true, '')",
    "reads passwords by a text with a schema": (
        "SELECT table_to_xml_and_xmlschema(' pg_catalog . \"pg_shadow\"', true, true, '')"
    ),
    "reads the whole catalogue": "SELECT schema_to_xml('pg_catalog', true, true, '')",
    "reads every schema": "SELECT database_to_xml(true, true, '')",
    "reads pages": "SELECT get_raw_page('pg_authid', 0)",
    "takes rows out of their pages": "SELECT heap_force_kill('t'::regclass, ARRAY['(0,1)']::tid[])",
    "reads everybody's changes": "SELECT * FROM pg_get_wal_records_info('0/1', '0/2')",
    "takes others' pages out of memory": "SELECT pg_buffercache_evict_all()",
    "a trigger's function gets a text": (
        "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION run_it('DROP DATABASE other')"
    ),
    "a block's trigger gets a text": (
        "DO $$ BEGIN CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION run_it('DROP ROLE x'); END $$"
    ),
    "a returned query reads a file": (
        "CREATE FUNCTION f() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN\n"
        "RETURN QUERY EXECUTE 'SELECT pg_read_file(''x'')'; END $$"
    ),
    "a cursor of a text reads a file": (
        "DO $$ DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE 'SELECT pg_read_file(''x'')'; END $$"
    ),
    "a name is formatted by its place": (
        "DO $$ BEGIN EXECUTE format('SELECT %2$I(%1$L)', '/etc/passwd', 'pg_read_file'); END $$"
    ),
    "a query of one of several": (
        "DO $$ BEGIN EXECUTE CASE WHEN true THEN 'COPY t TO PROGRAM ''id''' ELSE '' END; END $$"
    ),
    "a string goes on in the next line": "SELECT setval('upgrade'\n'path.x', 1)",
    "a string of escapes": "SELECT setval(E'\\x75pgradepath.x', 1)",
    "a name with another escape": "DROP SCHEMA U&\"!0075pgradepath\" UESCAPE '!'",
    "three bodies in each other": (
        "DO $a$ BEGIN EXECUTE $b$ DO $c$ BEGIN EXECUTE $d$DROP DATABASE x$d$; END $c$ $b$; END $a$"
    ),
}  # fmt: skip
