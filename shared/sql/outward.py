"""The names by which SQL leaves a Project's database: statements, functions, settings, extensions. Pure.

Lists of the server's own functions are those that PostgreSQL 18 lets nobody but a superuser run, and those of
earlier versions; see docs/adr/0033.
"""

_ROLE = "roles are the whole server's"
_DATABASE = "databases are the server's"
_OTHER = "it reaches another server"
_SUPERUSER = "only a superuser may, and it can run any code on the server"
_PLACE = "tablespaces are folders of the server"
_STREAM = "it sends or takes rows beyond the database"

STATEMENTS: dict[str, str] = {
    "CreateRoleStmt": _ROLE,
    "AlterRoleStmt": _ROLE,
    "AlterRoleSetStmt": _ROLE,
    "DropRoleStmt": _ROLE,
    "GrantRoleStmt": _ROLE,
    "ReassignOwnedStmt": _ROLE,
    "DropOwnedStmt": _ROLE,
    "AlterSystemStmt": "it changes the server's settings",
    "CreatedbStmt": _DATABASE,
    "DropdbStmt": _DATABASE,
    "AlterDatabaseStmt": _DATABASE,
    "AlterDatabaseSetStmt": _DATABASE,
    "AlterDatabaseRefreshCollStmt": _DATABASE,
    "CreateTableSpaceStmt": _PLACE,
    "DropTableSpaceStmt": _PLACE,
    "AlterTableSpaceOptionsStmt": _PLACE,
    "AlterTableMoveAllStmt": _PLACE,
    "CreateFdwStmt": _OTHER,
    "AlterFdwStmt": _OTHER,
    "CreateForeignServerStmt": _OTHER,
    "AlterForeignServerStmt": _OTHER,
    "CreateForeignTableStmt": _OTHER,
    "CreateUserMappingStmt": _OTHER,
    "AlterUserMappingStmt": _OTHER,
    "DropUserMappingStmt": _OTHER,
    "ImportForeignSchemaStmt": _OTHER,
    "CreatePLangStmt": _SUPERUSER,
    "CreateAmStmt": _SUPERUSER,
    "CreateOpClassStmt": _SUPERUSER,
    "CreateOpFamilyStmt": _SUPERUSER,
    "AlterOpFamilyStmt": _SUPERUSER,
    "CreateConversionStmt": _SUPERUSER,
    "CreateTransformStmt": _SUPERUSER,
    "LoadStmt": _SUPERUSER,
    "CreateEventTrigStmt": "an event trigger fires on everybody's statements",
    "AlterEventTrigStmt": "an event trigger fires on everybody's statements",
    "CreatePublicationStmt": _STREAM,
    "AlterPublicationStmt": _STREAM,
    "CreateSubscriptionStmt": _STREAM,
    "AlterSubscriptionStmt": _STREAM,
    "DropSubscriptionStmt": _STREAM,
    "SecLabelStmt": "labels are the server's security policy",
    "CheckPointStmt": "it makes the whole server write",
}
OBJECTS: dict[str, str] = {
    "OBJECT_DATABASE": _DATABASE,
    "OBJECT_ROLE": _ROLE,
    "OBJECT_TABLESPACE": _PLACE,
    "OBJECT_PARAMETER_ACL": "it changes who may set the server's settings",
    "OBJECT_FDW": _OTHER,
    "OBJECT_FOREIGN_SERVER": _OTHER,
    "OBJECT_FOREIGN_TABLE": _OTHER,
    "OBJECT_USER_MAPPING": _OTHER,
    "OBJECT_LANGUAGE": _SUPERUSER,
    "OBJECT_ACCESS_METHOD": _SUPERUSER,
    "OBJECT_OPCLASS": _SUPERUSER,
    "OBJECT_OPFAMILY": _SUPERUSER,
    "OBJECT_CONVERSION": _SUPERUSER,
    "OBJECT_TRANSFORM": _SUPERUSER,
    "OBJECT_TSPARSER": _SUPERUSER,
    "OBJECT_TSTEMPLATE": _SUPERUSER,
    "OBJECT_EVENT_TRIGGER": "an event trigger fires on everybody's statements",
    "OBJECT_PUBLICATION": _STREAM,
    "OBJECT_SUBSCRIPTION": _STREAM,
}
_FILES = """
    lo_import lo_export pg_read_file pg_read_binary_file pg_read_file_old pg_read_server_files
    pg_stat_file pg_ls_dir pg_ls_logdir pg_ls_waldir pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_logicalmapdir
    pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_summariesdir pg_current_logfile pg_logdir_ls
    pg_file_write pg_file_rename pg_file_unlink pg_file_read pg_file_length pg_file_sync
    pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings pg_config pg_logfile_rotate
"""
_SERVER = """
    pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_promote pg_switch_wal pg_switch_xlog
    pg_create_restore_point pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup
    pg_wal_replay_pause pg_wal_replay_resume pg_xlog_replay_pause pg_xlog_replay_resume
    pg_log_standby_snapshot pg_log_backend_memory_contexts pg_get_backend_memory_contexts
    pg_get_process_memory_contexts pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_aios
    pg_stat_reset pg_stat_reset_shared pg_stat_reset_slru pg_stat_reset_single_table_counters
    pg_stat_reset_single_function_counters pg_stat_reset_backend_stats pg_stat_reset_replication_slot
    pg_stat_reset_subscription_stats pg_stat_have_stats pg_stat_statements_reset pg_nextoid
    pg_import_system_collations pg_extension_config_dump pg_restore_relation_stats pg_restore_attribute_stats
    pg_clear_relation_stats pg_clear_attribute_stats pg_stop_making_pinned_objects pg_sync_replication_slots
    pg_create_physical_replication_slot pg_create_logical_replication_slot pg_drop_replication_slot
    pg_copy_physical_replication_slot pg_copy_logical_replication_slot pg_replication_slot_advance
    pg_logical_slot_get_changes pg_logical_slot_peek_changes pg_logical_slot_get_binary_changes
    pg_logical_slot_peek_binary_changes pg_logical_emit_message
    pg_replication_origin_advance pg_replication_origin_create pg_replication_origin_drop
    pg_replication_origin_oid pg_replication_origin_progress pg_replication_origin_session_is_setup
    pg_replication_origin_session_progress pg_replication_origin_session_reset
    pg_replication_origin_session_setup pg_replication_origin_xact_reset pg_replication_origin_xact_setup
    pg_show_replication_origin_status binary_upgrade_set_next_pg_type_oid
"""
_SESSIONS = "pg_terminate_backend pg_cancel_backend pg_advisory_unlock_all pg_background_launch"
_ELSEWHERE = """
    dblink dblink_connect dblink_connect_u dblink_disconnect dblink_exec dblink_open dblink_fetch
    dblink_close dblink_send_query dblink_get_result dblink_cancel_query dblink_get_connections
    dblink_is_busy dblink_error_message dblink_get_notify dblink_fdw_validator dblink_build_sql_insert
    dblink_build_sql_update dblink_build_sql_delete postgres_fdw_handler postgres_fdw_validator
    postgres_fdw_disconnect postgres_fdw_disconnect_all postgres_fdw_get_connections file_fdw_handler
    file_fdw_validator postgresql_fdw_validator http http_get http_post http_put http_patch http_delete
    http_head http_set_curlopt query_export_to_s3 table_import_from_s3 xslt_process load_labels_from_file
    load_edges_from_file run_command_on_workers run_command_on_shards
    run_command_on_all_nodes run_command_on_coordinator run_command_on_placements
    run_command_on_colocated_placements citus_add_node citus_add_inactive_node citus_add_secondary_node
    citus_update_node master_add_node master_add_inactive_node master_add_secondary_node master_update_node
    master_run_on_worker add_data_node attach_data_node detach_data_node delete_data_node distributed_exec
"""
_PAGES = """
    get_raw_page page_header page_checksum fsm_page_contents heap_page_items heap_page_item_attrs
    bt_page_items bt_page_stats bt_multi_page_stats brin_page_items gin_leafpage_items gist_page_items
    hash_page_items heap_force_kill heap_force_freeze
"""
_WHOLE = "database_to_xml database_to_xmlschema database_to_xml_and_xmlschema"
FUNCTIONS: dict[str, str] = {
    **dict.fromkeys(_FILES.split(), "it reads or writes the server's files"),
    **dict.fromkeys(_SERVER.split(), "it steers the server or sees what is not the Project's"),
    **dict.fromkeys(_SESSIONS.split(), "it ends or unlocks other sessions' work"),
    **dict.fromkeys(_ELSEWHERE.split(), _OTHER),
    **dict.fromkeys(_PAGES.split(), "it reads or writes tables past their rights"),
    **dict.fromkeys(_WHOLE.split(), "it reads every schema, the upgrade's own record among them"),
}
NAMING_FUNCTIONS = frozenset(
    {f"{each}_to_xml{more}" for each in ("table", "schema") for more in ("", "schema", "_and_xmlschema")}
)
"""Functions that read a table or a schema which a text names to them."""
_FOREIGN_SCHEMAS = """
    cron pgagent net http aws_s3 aws_lambda aws_commons dblink utl_file utl_http azure_storage
    azure_ai azure_openai azure_cognitive azure_ml google_ml supabase_functions
"""
FUNCTION_SCHEMAS = frozenset(_FOREIGN_SCHEMAS.split())
"""Extensions put there what runs as somebody else, later or elsewhere."""
_FIRST_IS_SQL = """
    query_to_xml query_to_xmlschema query_to_xml_and_xmlschema ts_stat crosstab crosstab2 crosstab3
    crosstab4 crosstab_hash index_advisor hypopg_create_index
    lives_ok throws_ok performs_ok is_empty isnt_empty
"""
SQL_TAKERS: dict[str, int] = {**dict.fromkeys(_FIRST_IS_SQL.split(), 0), "ts_rewrite": 1, "create_immv": 1}
"""Functions that run SQL given as a text, and which argument it is."""
OTHER_PARAMETERS = frozenset({"nulls", "tableforest", "targetns", "weights"})
"""The names of their parameters that are not SQL."""
BY_ARGUMENTS = frozenset({"set_config", "setval", "nextval", *SQL_TAKERS, *NAMING_FUNCTIONS})
"""Functions that are permitted or not by what is given to them."""
ORDINARY_WORDS = frozenset({"http", "dblink"})
"""Functions whose names people give to their columns too."""
IMPLICIT_TARGETS = frozenset({"http_request", "text", "varchar"})
"""Types that these functions take: what becomes one by itself is given to them as if it were a column."""
_READERS = """
    to_regclass to_regnamespace obj_description has_table_privilege has_schema_privilege pg_relation_size
    pg_table_size pg_total_relation_size format quote_ident quote_literal concat concat_ws lower upper length
"""
READERS_OF_NAMES = frozenset(_READERS.split())
"""Functions that do nothing to the table or schema that a text names to them."""
_SECRETS = """
    pg_authid pg_shadow pg_user_mapping pg_user_mappings pg_subscription pg_file_settings pg_hba_file_rules
    pg_ident_file_mappings pg_shmem_allocations pg_shmem_allocations_numa pg_backend_memory_contexts
    pg_aios pg_config pg_replication_origin_status user_mapping_options _pg_user_mappings
"""
SECRET_RELATIONS = frozenset(_SECRETS.split())
_LOADING = """
    session_preload_libraries local_preload_libraries shared_preload_libraries dynamic_library_path
    jit_provider extension_control_path
"""
SETTINGS: dict[str, str] = {
    "role": "it makes the worker somebody else",
    "session_authorization": "it makes the worker somebody else",
    "session_replication_role": "it switches triggers and references off",
    **dict.fromkeys(_LOADING.split(), "it loads code into the server"),
    "allow_system_table_mods": "it opens the server's own tables",
    "lo_compat_privileges": "it opens others' large objects",
    "backslash_quote": "it changes how the rest of the script is read",
}
SETTING_VALUES: dict[str, tuple[frozenset[str], str]] = {
    "standard_conforming_strings": (
        frozenset({"on", "true", "1", "yes"}), "it changes how the rest of the script is read",
    ),
    "client_encoding": (
        frozenset({"utf8", "utf-8", "unicode"}), "it changes how the rest of the script is read",
    ),
    "synchronous_commit": (
        frozenset({"on", "true", "1", "yes", "local", "remote_write", "remote_apply"}),
        "what is committed may be lost with a crash, the record of what ran among it",
    ),
    "default_transaction_read_only": (
        frozenset({"off", "false", "0", "no"}), "the upgrade could not write its own record",
    ),
    "default_table_access_method": (frozenset({"heap"}), "it keeps rows by code that not every server has"),
    "default_tablespace": (frozenset({"", "pg_default"}), _PLACE),
    "temp_tablespaces": (frozenset({"", "pg_default"}), _PLACE),
}  # fmt: skip
"""Settings that may have these values, and why no others."""
LANGUAGES = frozenset({"sql", "plpgsql"})
_INSIDE = """
    address_standardizer address_standardizer_data_us amcheck autoinc bloom btree_gin btree_gist citext
    cube dict_int dict_xsyn earthdistance fuzzystrmatch h3 h3_postgis hll hstore hypopg index_advisor
    insert_username intagg intarray ip4r isn lo ltree moddatetime periods pg_bigm pg_buffercache
    pg_freespacemap pg_hashids pg_idkit pg_ivm pg_jsonschema pg_partman pg_prewarm pg_similarity
    pg_stat_statements pg_trgm pg_ulid pg_uuidv7 pg_visibility pgcrypto pgjwt pgmq pgrouting pgrowlocks
    pgstattuple pgtap pgx_ulid plpgsql plpgsql_check postgis postgis_sfcgal postgis_topology prefix
    refint rum seg semver tablefunc tcn temporal_tables timescaledb topn tsm_system_rows tsm_system_time
    ulid unaccent unit uuid-ossp vector vectorscale
"""
EXTENSIONS = frozenset(_INSIDE.split())
"""Extensions known to stay inside the database, trusted ones of PostgreSQL and widely used others."""
OUR_NAMES: dict[str, str] = {
    "upgradepath": "the schema upgradepath is the upgrade's own record",
    "_prisma_migrations": "the table _prisma_migrations is Prisma's record of what ran",
}
OUR_LOCKS = frozenset({72707369, 4_711_004, 4_711_005})
"""Advisory locks: Prisma's, and those that keep two workers apart."""
