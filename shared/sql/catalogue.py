"""The names of the server's own tables, views and types, as they are meant where no schema is given. Pure.

They are PostgreSQL 18's and those of earlier versions.
"""

_TABLES = """
    aggregate aios am amop amproc attrdef attribute auth_members authid available_extension_versions
    available_extensions backend_memory_contexts brin_bloom_summary brin_minmax_multi_summary cast class
    collation config constraint conversion cursors database db_role_setting ddl_command default_acl
    depend dependencies description enum event_trigger extension file_settings foreign_data_wrapper
    foreign_server foreign_table group hba_file_rules ident_file_mappings index indexes inherits
    init_privs language largeobject largeobject_metadata locks lsn matviews mcv_list namespace ndistinct
    node_tree opclass operator opfamily parameter_acl partitioned_table pltemplate policies policy
    prepared_statements prepared_xacts proc publication publication_namespace publication_rel
    publication_tables range replication_origin replication_origin_status replication_slots rewrite
    roles rules seclabel seclabels sequence sequences settings shadow shdepend shdescription
    shmem_allocations shmem_allocations_numa shseclabel snapshot statistic statistic_ext
    statistic_ext_data stats stats_ext stats_ext_exprs subscription subscription_rel tables tablespace
    timezone_abbrevs timezone_names transform trigger ts_config ts_config_map ts_dict ts_parser
    ts_template type user user_mapping user_mappings views wait_events
"""
_STATISTICS = """
    activity all_indexes all_tables archiver bgwriter checkpointer database database_conflicts gssapi io
    progress_analyze progress_basebackup progress_cluster progress_copy progress_create_index
    progress_vacuum recovery_prefetch replication replication_slots slru ssl subscription
    subscription_stats sys_indexes sys_tables user_functions user_indexes user_tables wal wal_receiver
    xact_all_tables xact_sys_tables xact_user_functions xact_user_tables
"""
_STATISTICS_OF_IO = """
    all_indexes all_sequences all_tables sys_indexes sys_sequences sys_tables user_indexes
    user_sequences user_tables
"""
_RELATIONS = frozenset(
    {f"pg_{each}" for each in _TABLES.split()}
    | {f"pg_stat_{each}" for each in _STATISTICS.split()}
    | {f"pg_statio_{each}" for each in _STATISTICS_OF_IO.split()}
)


def is_of_catalogue(name: str) -> bool:
    """Whether a name without a schema means a table, view, index or type of the server's catalogue."""
    if name in _RELATIONS:
        return True
    # Indexes are named by their table: pg_class_oid_index.
    places = (at for at, letter in enumerate(name) if letter == "_")
    return (
        name.startswith("pg_") and name.endswith("_index") and any(name[:at] in _RELATIONS for at in places)
    )
