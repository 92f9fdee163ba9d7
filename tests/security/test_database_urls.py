"""libpq's parameters in a PostgreSQL URL are done as libpq does them, or refused with the cure."""

from pathlib import Path

import pytest

from services.executor.clients.backup import connection_settings, connection_variables
from shared.clients.database_urls import place, server_url
from shared.clients.libpq import UnusableUrl, addresses, driver_arguments, parameters, weakness
from shared.errors import Retry
from tests.support.authority import Authority

URL = "postgresql://u:p@db.example/x"


def dsn(url: str) -> str:
    return str(driver_arguments(url, 10, {})["dsn"])


@pytest.mark.parametrize(
    ("query", "cure"),
    [
        ("sslmode=verify", "none of disable, allow"),
        ("sslrootcert=/no/ca.pem", "sslrootcert in a PostgreSQL URL names /no/ca.pem"),
        ("sslcert=/no/c.pem", "sslcert"),
        ("sslrootcert=system&sslmode=require", "needs sslmode=verify-full"),
        ("channel_binding=require", "sslmode=verify-full"),
        ("gssencmode=require", "leave it out"),
        ("require_auth=scram-sha-256", "leave it out"),
        ("requirepeer=postgres", "leave it out"),
        ("hostaddr=10.0.0.1", "leave it out"),
        ("service=other", "leave it out"),
        ("passfile=/root/.pgpass", "leave it out"),
        ("connect_timeout=soon", "number of seconds"),
    ],
)
def test_what_cannot_be_done_is_refused_and_not_ignored(query: str, cure: str) -> None:
    with pytest.raises(UnusableUrl, match=cure) as refused:
        driver_arguments(f"{URL}?{query}", 10, {})
    assert "u:p" not in str(refused.value)
    if not query.startswith("connect_timeout"):
        with pytest.raises(Retry, match=cure):
            connection_variables(f"{URL}?{query}")


def test_time_outs_and_names_reach_the_driver_and_our_own_settings_stay() -> None:
    asked = f"{URL}?connect_timeout=3&application_name=mine&keepalives=1&channel_binding=prefer"
    asked += "&options=-c%20a%3D1"
    arguments = driver_arguments(asked, 10, {"application_name": "ours", "jit": "off"})
    assert arguments == {
        "timeout": 3.0,
        "server_settings": {"application_name": "mine", "jit": "off"},
        "dsn": f"{URL}?options=-c%20a%3D1",
    }
    assert driver_arguments(URL, 10, {"jit": "off"}) == {
        "timeout": 10,
        "server_settings": {"jit": "off"},
        "dsn": URL,
    }


def test_a_plus_sign_is_a_plus_sign() -> None:
    assert parameters(f"{URL}?sslpassword=a+b%26c")["sslpassword"] == "a+b&c"
    assert dsn(f"{URL}?sslpassword=a+b%26c").endswith("sslpassword=a%2Bb%26c")


def test_several_servers_are_several() -> None:
    url = "postgresql://u:p@one:1,[::1]:2,three/x?target_session_attrs=read-write"
    assert [(one.host, one.port) for one in addresses(url)] == [("one", 1), ("::1", 2), ("three", 5432)]
    assert place(url) == "one:1,::1:2,three:5432/x"
    variables = connection_variables(url)
    assert variables["PGHOST"] == "one,::1,three"
    assert variables["PGPORT"] == "1,2,5432"
    assert variables["PGTARGETSESSIONATTRS"] == "read-write"
    socket = "postgresql:///x?host=/run/postgresql&port=6"
    assert [(one.host, one.port) for one in addresses(socket)] == [("/run/postgresql", 6)]


def test_the_hosts_that_may_be_reached_unencrypted_are_named() -> None:
    assert list(weakness(URL, {})) == [("db.example", "prefer")]
    assert list(weakness(f"{URL}?sslmode=allow", {"PGSSLMODE": "verify-full"})) == [("db.example", "allow")]
    assert list(weakness("postgresql://u@a,b/x", {})) == [("a", "prefer"), ("b", "prefer")]
    assert list(weakness("postgresql:///x", {"PGHOST": "db.example"})) == [("db.example", "prefer")]
    assert list(weakness("postgresql:///x", {})) == [("localhost", "prefer")]
    assert list(weakness(URL, {"PGSSLMODE": "require"})) == []
    for mode in ("require", "verify-ca", "verify-full"):
        assert list(weakness(f"{URL}?sslmode={mode}", {})) == []


def test_passwords_of_this_process_do_not_go_to_a_server_that_somebody_else_named() -> None:
    without = "postgresql://u@db.example/x"
    assert driver_arguments(without, 10, {}, of_others=True)["password"] == ""
    assert "password" not in driver_arguments(URL, 10, {}, of_others=True)
    assert "password" not in driver_arguments(without, 10, {})
    assert connection_variables(without)["PGPASSFILE"] == "/nonexistent"


def test_a_keys_password_goes_to_programs_by_a_file_of_ours_alone() -> None:
    with connection_settings(f"{URL}?sslpassword=hush") as variables:
        file = Path(variables["PGSERVICEFILE"])
        assert file.read_text() == "[upgradepath]\nsslpassword=hush\n"
        assert file.stat().st_mode & 0o077 == 0
        assert "hush" not in " ".join(variables.values())
    assert not file.exists()


def test_prismas_way_to_prove_a_server_is_postgresqls(tmp_path: Path) -> None:
    ca = Authority.new().write(tmp_path, "x").ca
    strict = server_url(f"{URL}?schema=app&sslmode=require&sslaccept=strict&sslcert={ca}")
    assert parameters(strict) == {"sslmode": "verify-full", "sslrootcert": str(ca)}
    assert parameters(server_url(f"{URL}?sslaccept=strict"))["sslrootcert"] == "system"
    assert parameters(server_url(f"{URL}?sslmode=require&sslaccept=accept_invalid_certs")) == {
        "sslmode": "require"
    }
    with pytest.raises(UnusableUrl, match="name sslcert and sslkey"):
        server_url(f"{URL}?sslidentity=client.p12")
