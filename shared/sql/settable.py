"""The settings that a script may set, and the functions named pg_… that it may call: no others. Pure.

The settings are those that PostgreSQL 13 to 18 let any user set, without those that load code, take away what
was committed or change how the rest of the script is read. The functions are those that they let any user
call.
"""

import re

_SETTINGS = """
    application_name array_nulls bytea_output check_function_bodies client_encoding client_min_messages
    commit_delay commit_siblings constraint_exclusion cursor_tuple_fraction datestyle deadlock_timeout
    debug_parallel_query default_statistics_target default_table_access_method default_tablespace
    default_text_search_config default_toast_compression default_transaction_deferrable
    default_transaction_isolation default_transaction_read_only default_with_oids effective_cache_size
    effective_io_concurrency escape_string_warning extra_float_digits force_parallel_mode
    from_collapse_limit hash_mem_multiplier intervalstyle io_combine_limit join_collapse_limit lc_monetary
    lc_numeric lc_time logical_decoding_work_mem maintenance_io_concurrency maintenance_work_mem names
    operator_precedence_warning plan_cache_mode quote_all_identifiers random_page_cost
    recursive_worktable_factor row_security search_path seed seq_page_cost session standard_conforming_strings
    stats_fetch_consistency synchronize_seqscans synchronous_commit temp_buffers temp_tablespaces timezone
    transaction transaction_deferrable transaction_isolation transaction_read_only transform_null_equals
    wal_compression wal_skip_threshold work_mem xmlbinary xmloption
"""
_SETTABLE = frozenset(_SETTINGS.split()) | {"transaction snapshot"}
_KINDS_OF_SETTINGS = re.compile(
    r"(?:cpu|enable|geqo|gin|jit|max_parallel|min_parallel|parallel|vacuum)_[a-z_]+|geqo|jit"
    r"|(?:lock|statement|transaction|idle_session|idle_in_transaction_session)_timeout"
)
_CODE = """
    anon auto_explain citus cron dblink http net pgaudit pljava plperl plperlu plpython plpython3u plr plrust
    pltcl pltclu plv8 session_preload supautils
"""
_OF_CODE = frozenset(_CODE.split())
"""Extensions that run code, call other servers or keep the server's log, by how their settings begin."""
_FUNCTIONS = re.compile(
    r"pg_(?:"
    r"(?:try_)?advisory_(?:xact_)?(?:lock|unlock)(?:_shared)?|stat_get_[a-z_]+|get_(?!wal_)[a-z_]+|[a-z_]+_is_visible"
    r"|lsn(?:_[a-z]+)?|snapshot_[a-z]+|(?:current_)?(?:snapshot|xact)[a-z_]*|visible_in_snapshot"
    r"|[a-z_]+_(?:in|out|recv|send)|mcv_list_items"
    r"|(?:relation|table|indexes|total_relation|column|database|tablespace)_size|size_(?:bytes|pretty)"
    r"|typeof|basetype|backend_pid|(?:safe_snapshot_)?blocking_pids|trigger_depth|notify|sleep(?:_for|_until)?"
    r"|collation_(?:for|actual_version)|database_collation_actual_version|client_encoding|char_to_encoding"
    r"|encoding_(?:to_char|max_length)|column_(?:compression|is_updatable|toast_chunk_id)"
    r"|has_role|my_temp_schema|is_other_temp_schema|describe_object|identify_object(?:_as_address)?"
    r"|options_to_table|sequence_(?:last_value|parameters)|partition_(?:tree|root|ancestors)"
    r"|relation_(?:filenode|filepath|is_publishable|is_updatable)|filenode_relation|input_(?:is_valid|error_info)"
    r"|index(?:am)?_[a-z_]*property|indexam_progress_phasename|event_trigger_[a-z_]+|settings_get_flags"
    r"|(?:postmaster_start|conf_load)_time|is_in_recovery|is_wal_replay_paused|jit_available|numa_available"
    r"|current_wal_[a-z_]*lsn|wal_lsn_diff|last_[a-z_]+|walfile_name(?:_offset)?|split_walfile_name"
    r"|listening_channels|notification_queue_usage|export_snapshot|available_extension[a-z_]*"
    r"|extension_update_paths|timezone_[a-z_]+|tablespace_(?:location|databases)|lock_status|cursor"
    r"|prepared_(?:statement|xact)|show_all_settings|control_[a-z]+|stat_(?:clear_snapshot|force_next_flush)"
    r"|isolation_test_session_is_blocked|available_wal_summaries|wal_summary_contents"
    # Of extensions that stay inside.
    r"|stat_statements(?:_info)?|buffercache(?!_evict|_mark)[a-z_]*|prewarm|freespace|visibility[a-z_]*|relpages|version(?:_num)?"
    r"|gin_pending_stats|check_(?:frozen|visible)"
    r")"
)


def is_settable(name: str) -> bool:
    """True when a script may set the setting, by its name in small letters, unless its value is refused."""
    before, dot, _ = name.partition(".")
    if dot:
        # Settings of applications: nobody but they reads them.
        return before not in _OF_CODE
    return name in _SETTABLE or _KINDS_OF_SETTINGS.fullmatch(name) is not None


def is_unknown_of_server(names: tuple[str, ...]) -> bool:
    """True when a function's name is one of the server's own that is not known to be harmless.

    Names that begin with pg_ are the server's. With a schema before it, a Project's own may have one too.
    """
    if not names[-1].startswith("pg_") or (len(names) > 1 and names[-2] != "pg_catalog"):
        return False
    return _FUNCTIONS.fullmatch(names[-1]) is None
