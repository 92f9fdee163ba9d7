"""Why no broker lets us in: aiokafka tries each address, logs a line, and raises that none was reached."""

import asyncio
import ssl
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from shared.kafka_security import KafkaSecurity, name_of
from shared.messaging.client_arguments import NoToken, client_arguments

_ANSWER_WITHIN_S = 10.0


async def broker_fault(settings: KafkaSecurity) -> str | None:
    """The first address's reason, with the cure; none when one of them lets us in.

    It connects anew, and says nothing of secrets.
    """
    first: str | None = None
    for host, port, _ in collect_hosts(settings.bootstrap_servers, randomize=False):
        found = await _fault_at(settings, host, port)
        if found is None:
            return None
        first = first or f"{host}:{port} {found}"
    return first


def access_fault(settings: KafkaSecurity, error: BaseException) -> str | None:
    """What the broker's access lists do not let us do, in a sentence; none when it is something else."""
    match error:
        case TopicAuthorizationFailedError():
            what = "the topic"
        case GroupAuthorizationFailedError():
            what = "the group"
        case ClusterAuthorizationFailedError():
            what = "the cluster"
        case _:
            return None
    named = ", ".join(str(one) for one in error.args)
    return f"the broker does not let {settings.sasl_username or 'us'} use {what} {named}".rstrip()


async def _fault_at(settings: KafkaSecurity, host: str, port: int) -> str | None:
    connection: Any = None
    try:
        arguments = client_arguments(settings)
        del arguments["bootstrap_servers"]
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            connection = await create_conn(host, port, **arguments)
            await connection.send(MetadataRequest([]))
    except (KafkaError, OSError, ValueError, AssertionError) as error:
        return _words(settings, error)
    finally:
        if connection is not None:
            connection.close()
    return None


def _words(settings: KafkaSecurity, error: Exception) -> str:
    protocol = name_of("security_protocol")
    match error:
        case SaslAuthenticationFailed() | AuthenticationFailedError():
            return _not_let_in(settings)
        case UnsupportedSaslMechanismError():
            return f"does not take {settings.sasl_mechanism}: set {name_of('sasl_mechanism')} ({error})"
        case NoToken():
            return f"was not asked, there is no token: {error}"
        case ssl.SSLCertVerificationError():
            return (
                f"has a certificate that is not proven ({error.verify_message}): {name_of('ssl_cafile')}"
                f" must hold its authority, and {name_of('bootstrap_servers')} a name that is in it"
            )
        case ssl.SSLError():
            return f"does not agree on TLS ({error.reason}): check {protocol} and {_of_certificate()}"
        case TimeoutError() | KafkaConnectionError() | ConnectionResetError():
            return _closed(settings)
        case OSError():
            return f"cannot be reached: {error.strerror or error}"
        case _:
            return f"gave an answer that was not understood: {type(error).__name__}"


def _not_let_in(settings: KafkaSecurity) -> str:
    if settings.sasl_mechanism == "OAUTHBEARER":
        return "does not let us in: the bearer token is not one that it takes"
    return (
        f"does not let {settings.sasl_username} in by {settings.sasl_mechanism}: check"
        f" {name_of('sasl_username')} and {name_of('sasl_password')}"
    )


def _closed(settings: KafkaSecurity) -> str:
    """A broker that expects something else closes the connection, or waits, without a word."""
    protocol = name_of("security_protocol")
    if settings.is_encrypted:
        return (
            f"ended the connection: check {protocol}, which is {settings.security_protocol},"
            f" and {_of_certificate()}"
        )
    return (
        f"ended the connection: it may want TLS or SASL: set {protocol}=SASL_SSL, which is"
        f" {settings.security_protocol} now"
    )


def _of_certificate() -> str:
    return f"{name_of('ssl_certfile')}, if it wants a certificate of ours"
