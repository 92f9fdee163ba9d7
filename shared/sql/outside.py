"""What in a statement reaches beyond the database: another server, a file, a program, a listener. Pure."""

from collections.abc import Iterator
from typing import Any

from postgast import pg_query_pb2

from shared.sql.tree import below, kind, strings

_OF_THE_SERVER = {
    "CreateRoleStmt": "a role is made",
    "AlterRoleStmt": "a role is altered",
    "AlterRoleSetStmt": "a role's settings change",
    "DropRoleStmt": "a role goes",
    "GrantRoleStmt": "a role's members change",
    "AlterSystemStmt": "a setting of the server changes",
    "CreatedbStmt": "a database is made",
    "DropdbStmt": "a database goes",
    "AlterDatabaseStmt": "a database is altered",
    "AlterDatabaseSetStmt": "a database's settings change",
    "CreateTableSpaceStmt": "a tablespace is made",
    "DropTableSpaceStmt": "a tablespace goes",
    "AlterTableSpaceOptionsStmt": "a tablespace is altered",
    "NotifyStmt": "whoever listens is told",
    "CreateSubscriptionStmt": "another server is subscribed to",
    "AlterSubscriptionStmt": "a subscription to another server changes",
    "DropSubscriptionStmt": "another server's replication slot goes",
}
_NOT_OF_THE_DATABASE = {
    pg_query_pb2.OBJECT_DATABASE: "rights on a database change",
    pg_query_pb2.OBJECT_TABLESPACE: "rights on a tablespace change",
    pg_query_pb2.OBJECT_PARAMETER_ACL: "rights on a setting of the server change",
}
_FUNCTIONS = {
    "pg_notify": "whoever listens is told",
    "dblink": "a query runs on another server",
    "dblink_exec": "a statement runs on another server",
    "dblink_send_query": "a statement runs on another server",
    "postgres_fdw_disconnect": "a connection to another server ends",
    "lo_export": "a file is written on the server",
    "pg_file_write": "a file is written on the server",
    "pg_file_rename": "a file is renamed on the server",
    "pg_file_unlink": "a file goes from the server",
    "pg_logical_emit_message": "whoever reads the changes is told",
    "pg_create_logical_replication_slot": "a replication slot is made",
    "pg_create_physical_replication_slot": "a replication slot is made",
    "pg_drop_replication_slot": "a replication slot goes",
    "pg_terminate_backend": "another session is ended",
    "pg_cancel_backend": "another session is interrupted",
    "pg_reload_conf": "the server reads its settings anew",
    "http_get": "another service is called",
    "http_post": "another service is called",
    "http_put": "another service is called",
    "http_delete": "another service is called",
    "query_export_to_s3": "rows are written to another service",
}


def outside_of(node: Any) -> Iterator[str]:
    """Why a statement cannot be taken back by anything that the database holds; nothing for most of them."""
    for each in below(node):
        name = kind(each)
        if name in _OF_THE_SERVER:
            yield f"{name.removesuffix('Stmt')}: {_OF_THE_SERVER[name]}"
        elif name == "GrantStmt" and each.objtype in _NOT_OF_THE_DATABASE:
            yield _NOT_OF_THE_DATABASE[each.objtype]
        elif name == "CopyStmt" and each.is_program:
            yield "COPY … PROGRAM: a program runs on the server"
        elif name == "CopyStmt" and each.filename and not each.is_from:
            yield "COPY … TO: a file is written on the server"
        elif name == "FuncCall" and (called := strings(each.funcname)[-1].lower()) in _FUNCTIONS:
            yield f"calls {called}(): {_FUNCTIONS[called]}"
