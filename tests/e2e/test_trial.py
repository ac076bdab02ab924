"""``tidegate config test`` against real servers: what an admin reads of each way in, and what to do next."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from proxy.adapters.clock import SystemClock
from proxy.adapters.keys import KeyFolder
from proxy.adapters.learnt_hosts import FileLearntHosts
from proxy.adapters.ssh_keys import ssh_keys
from proxy.cli.demo.certificates import Authority
from proxy.cli.demo.postgres import SUPERUSER, free_port
from proxy.cli.main import main
from tests.gateway_config.files import HASH, put
from tests.peers.middle import middle
from tests.peers.postgres import PASSWORDS, Cluster
from tests.peers.proof import until
from tests.peers.sshd import Sshd, echo, make_key, sshd

Trial = Callable[..., tuple[int, list[dict[str, Any]]]]


def written(folder: Path, *resources: str) -> Path:
    user = f'[gateway]\nstate_dir = "state"\n[[users]]\nname = "alice"\npassword_hash = "{HASH}"\n'
    for role, password in PASSWORDS.items():
        put(folder / "secrets" / role, f"{password or 'none'}\n")
    put(folder / "secrets" / "wrong", "a-guess\n")
    return put(folder / "gateway.toml", user + "\n".join(resources))


def postgres(name: str, port: int, tls: str, *accounts: str, control: str = "") -> str:
    head = f'[[resources]]\nname = "{name}"\nprotocol = "postgres"\naddress = "127.0.0.1:{port}"\n{tls}\n'
    return head + "".join(f"[[resources.accounts]]\n{each}\n" for each in accounts) + control


def role(name: str, *, password: str = "", databases: str = '["shop"]') -> str:
    return f'name = "{name}"\npassword = "file:secrets/{password or name}"\ndatabases = {databases}'


@pytest.fixture
def trial(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Trial:
    """Runs the command; its exit code and rows. No secret is ever said."""

    def run(*words: str) -> tuple[int, list[dict[str, Any]]]:
        code = main(("config", "test", *words, "--config", str(tmp_path / "gateway.toml"), "--json"))
        out, err = capfd.readouterr()
        for secret in filter(None, (*PASSWORDS.values(), "a-guess")):
            assert secret not in out + err
        return code, json.loads(out)["tried"] if out else []

    return run


def results(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {f"{each['resource']}/{each['account']}": each["result"] for each in rows}


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_every_way_into_postgres(postgres15: Cluster, tmp_path: Path, trial: Trial) -> None:
    certificate, key = postgres15.client_certificate().write(tmp_path, "client")
    full = f'tls_mode = "verify-full"\ntls_ca = "{postgres15.ca}"'
    shown = f'name = "cert_role"\nclient_certificate = "{certificate}"\nclient_key = "{key}"'
    accounts = [role(each) for each in ("readonly", "md5_role", "cleartext_role", "tls_role")]
    control = f'[resources.control]\nuser = "{SUPERUSER}"\npassword = "file:secrets/{SUPERUSER}"\n'
    written(tmp_path, postgres("shop", postgres15.port, full, *accounts, shown, control=control))
    before = len(postgres15.log())
    code, rows = trial()
    assert [each["result"] for each in rows] == ["ok"] * 6, rows
    assert "EOF" not in postgres15.log()[before:]
    assert "could not" not in postgres15.log()[before:]
    assert (code, [each["control"] for each in rows]) == (0, [False] * 5 + [True])
    assert [each["account"] for each in rows] == [
        "readonly", "md5_role", "cleartext_role", "tls_role", "cert_role", SUPERUSER,
    ]  # fmt: skip
    assert rows[0] == {
        "resource": "shop", "protocol": "postgres", "address": f"127.0.0.1:{postgres15.port}",
        "account": "readonly", "database": "shop", "control": False, "ok": True, "reached": True,
        "result": "ok", "next": None,
    }  # fmt: skip


def test_what_is_wrong_with_postgres(
    postgres15: Cluster, postgres16: Cluster, tmp_path: Path, trial: Trial
) -> None:
    Authority.create("A stranger").write(tmp_path)
    full = f'tls_mode = "verify-full"\ntls_ca = "{postgres15.ca}"'
    stranger = f'tls_mode = "verify-full"\ntls_ca = "{tmp_path / "ca.crt"}"'
    port = postgres15.port
    written(
        tmp_path,
        postgres("names", port, f'{full}\ntls_server_name = "db.example"', role("readonly")),
        postgres("authority", port, stranger, role("readonly")),
        postgres("plain", postgres16.port, full, role("readonly")),
        postgres(
            "roles", port, full, role("readonly", password="wrong"), role("owner", databases='["shop", "shpo"]'),
            role("cert_role", password="readonly"), role("tls_role", databases="[]"),
        ),
        postgres("nowhere", free_port(), full, role("readonly"), role("owner")),
    )  # fmt: skip
    code, rows = trial()
    assert code == 1
    said = [(each["resource"], each["account"], each["database"], each["ok"], each["reached"]) for each in rows]
    assert said == [
        ("names", "readonly", "shop", False, True),
        ("authority", "readonly", "shop", False, True),
        ("plain", "readonly", "shop", False, True),
        ("roles", "readonly", "shop", False, True),
        ("roles", "owner", "shop", True, True),
        ("roles", "owner", "shpo", False, True),
        ("roles", "cert_role", "shop", False, True),
        ("roles", "tls_role", "postgres", True, True),
        ("nowhere", "readonly", "shop", False, False),
        ("nowhere", "owner", "shop", False, False),
    ]
    wanted = [
        ("for another name", "tls_server_name"),
        ("authority that is not known", "tls_ca"),
        ("does not offer TLS", "ssl = on"),
        ("does not accept the gateway's credential", "compare the password"),
        ("ok", ""),
        ("no such database", "correct the name"),
        ("does not let this account in (28000", "pg_hba.conf"),
        ("ok", ""),
        ("does not answer", "firewall"),
        ("does not answer", "firewall"),
    ]
    for each, (result, following) in zip(rows, wanted, strict=True):
        assert result in each["result"], each
        assert following in (each["next"] or ""), each


def test_a_control_role_that_cannot_do_its_work(postgres15: Cluster, tmp_path: Path, trial: Trial) -> None:
    """What to do next is done, and then it can."""
    postgres15.execute("CREATE ROLE half_control LOGIN PASSWORD 'reader-secret' IN ROLE pg_read_all_stats")
    try:
        full = f'tls_mode = "verify-full"\ntls_ca = "{postgres15.ca}"'
        control = '[resources.control]\nuser = "half_control"\npassword = "file:secrets/readonly"\n'
        written(tmp_path, postgres("shop", postgres15.port, full, role("readonly"), control=control))
        code, rows = trial()
        assert (code, rows[0]["ok"], rows[1]["ok"]) == (1, True, False)
        assert "lacks pg_signal_backend, so" in rows[1]["result"]
        _, _, remedy = rows[1]["next"].partition(": ")
        postgres15.execute(remedy)
        assert trial() == (0, [rows[0], {**rows[1], "ok": True, "result": "ok", "next": None}])
    finally:
        postgres15.execute("DROP ROLE half_control")


def test_a_log_in_that_is_weak_on_this_line_is_not_answered(
    postgres15: Cluster, tmp_path: Path, trial: Trial
) -> None:
    written(tmp_path, postgres("shop", postgres15.port, 'tls_mode = "require"', role("cleartext_role")))
    code, rows = trial()
    assert code == 1
    assert "weak log-in" in rows[0]["result"]


def test_a_server_in_between_is_found_out(postgres15: Cluster, tmp_path: Path, trial: Trial) -> None:
    between = postgres15.authority.server().write(tmp_path, "between")
    with middle(between, postgres15.port) as other:
        written(tmp_path, postgres("shop", other.port, f'tls_ca = "{postgres15.ca}"', role("readonly")))
        code, rows = trial()
    assert (code, rows[0]["ok"]) == (1, False)


# -- SSH -----------------------------------------------------------------------------------------------------------


def ssh(name: str, port: int, known: str, user: str, *credentials: str) -> str:
    head = f'[[resources]]\nname = "{name}"\nprotocol = "ssh"\naddress = "127.0.0.1:{port}"\n{known}\n'
    return head + "".join(f'[[resources.accounts]]\nname = "{user}"\n{each}\n' for each in credentials)


def shown(line: str) -> str:
    return str(asyncssh.import_public_key(line).get_fingerprint())


def test_every_way_into_a_host(host: Sshd, tmp_path: Path, trial: Trial) -> None:
    keys = ssh_keys(KeyFolder(tmp_path / "state" / "keys"), SystemClock())
    host.authorities.write_text(keys.targets_authority().decode() + "\n")
    before = {each: each.stat().st_mtime_ns for each in (tmp_path / "state" / "keys").iterdir()}
    stranger = make_key(tmp_path / "stranger")
    put(tmp_path / "stranger", (tmp_path / "stranger").read_bytes())
    pinned, by_key = f'host_keys = ["{host.host_key}"]', f'key = "{host.key}"'
    try:
        written(
            tmp_path,
            ssh("key", host.port, pinned, host.user, by_key),
            ssh("certificate", host.port, pinned, host.user, "certificate = true"),
            ssh("authority", host.port, f'host_authorities = ["{host.host_authority}"]', host.user, by_key),
            ssh("first", host.port, "trust_first_use = true", host.user, by_key),
            ssh("other-key", host.port, f'host_keys = ["{stranger}"]', host.user, by_key),
            ssh("other-authority", host.port, f'host_authorities = ["{stranger}"]', host.user, by_key),
            ssh("not-let-in", host.port, pinned, host.user, f'key = "{tmp_path / "stranger"}"'),
            ssh("password", host.port, pinned, host.user, 'password = "file:secrets/wrong"'),
            ssh("nowhere", free_port(), pinned, host.user, by_key),
        )
        code, rows = trial()
    finally:
        host.authorities.write_text("")
    said = {each["resource"]: each for each in rows}
    assert code == 1
    assert {name for name, each in said.items() if each["ok"]} == {"key", "certificate", "authority", "first"}
    assert {name for name, each in said.items() if each["result"] == "ok"} == {"key", "certificate", "authority"}
    assert shown(host.host_key) in said["first"]["result"]
    assert shown(host.host_key) in said["other-key"]["result"]
    assert "host_keys" in said["other-key"]["next"]
    assert shown(host.host_authority) in said["other-authority"]["result"]
    assert "authorized_keys" in said["not-let-in"]["next"]
    assert "does not let the gateway in" in said["password"]["result"]
    assert said["nowhere"]["reached"] is False
    # Nothing was learnt or made.
    assert {each: each.stat().st_mtime_ns for each in (tmp_path / "state" / "keys").iterdir()} == before


def test_another_kind_of_host_key(tmp_path: Path, trial: Trial) -> None:
    with sshd(kind="ecdsa") as host:
        pinned = make_key(tmp_path / "pinned")
        written(tmp_path, ssh("box", host.port, f'host_keys = ["{pinned}"]', host.user, f'key = "{host.key}"'))
        code, rows = trial()
    assert code == 1
    assert "ssh-keyscan" in rows[0]["next"], rows[0]["result"]


def test_the_test_makes_no_keys(host: Sshd, tmp_path: Path, trial: Trial) -> None:
    pinned = f'host_keys = ["{host.host_key}"]'
    written(tmp_path, ssh("box", host.port, pinned, host.user, "certificate = true"))
    code, rows = trial()
    assert (code, rows[0]["reached"]) == (1, True)
    assert "tidegate keys ssh --targets" in rows[0]["next"]
    assert not (tmp_path / "state").exists()


def test_nothing_is_run_on_the_host(host: Sshd, tmp_path: Path, trial: Trial) -> None:
    before = len(host.log())
    pinned = f'host_keys = ["{host.host_key}"]'
    written(tmp_path, ssh("box", host.port, pinned, host.user, f'key = "{host.key}"'))
    assert trial()[0] == 0
    until(lambda: "Received disconnect" in host.log()[before:])
    log = host.log()[before:]
    assert "Accepted publickey" in log
    assert "Starting session" not in log


def test_a_host_that_shows_another_key_than_it_once_did(host: Sshd, tmp_path: Path, trial: Trial) -> None:
    learnt = FileLearntHosts(KeyFolder(tmp_path / "state" / "keys"))
    written(tmp_path, ssh("box", host.port, "trust_first_use = true", host.user, f'key = "{host.key}"'))
    learnt.learn("box", make_key(tmp_path / "once"))
    code, rows = trial()
    assert (code, shown(host.host_key) in rows[0]["result"]) == (1, True)
    assert "ssh_learnt_hosts.json" in rows[0]["next"]


# -- any, and the command itself -----------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def tcp(name: str, *ports: int) -> str:
    addresses = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return (
        f'[[resources]]\nname = "{name}"\nprotocol = "tcp"\naddress = [{addresses}]\n'
        '[[resources.accounts]]\nname = "any"\n'
    )


def test_each_address_of_a_resource(tmp_path: Path, trial: Trial) -> None:
    with echo() as port:
        written(tmp_path, tcp("service", port, free_port()), tcp("other", free_port()))
        code, rows = trial()
        assert code == 1
        assert [each["ok"] for each in rows] == [True, False, False]
        assert trial("other")[0] == 4
        assert trial("service")[0] == 1
        assert [each["resource"] for each in trial("other", "service")[1]] == ["service", "service", "other"]


def test_a_target_that_says_nothing_is_not_waited_for(
    silent: int, tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.app.trial.PATIENCE", 0.3)
    full = 'tls_mode = "require"'
    known = f'host_keys = ["{make_key(tmp_path / "any")}"]'
    written(
        tmp_path,
        postgres("database", silent, full, role("readonly"), role("owner")),
        ssh("box", silent, known, "ops", 'password = "file:secrets/wrong"'),
    )
    code, rows = trial()
    assert (code, {each["reached"] for each in rows}) == (1, {True})
    assert all("did not end within 0.3 s" in each["result"] for each in rows)


def test_what_a_person_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with echo() as port:
        nowhere = free_port()
        file = written(tmp_path, tcp("service", port), tcp("other", nowhere))
        assert main(("config", "test", "--config", str(file))) == 1
    out, err = capfd.readouterr()
    lines = [re.sub(r"  +", "  ", each.strip()) for each in out.splitlines()]
    assert lines[:2] == ["RESOURCE  ADDRESS  ACCOUNT  RESULT", f"service  127.0.0.1:{port}  any  ok"]
    why = f"the target does not answer (127.0.0.1:{nowhere}: Connection refused)"
    assert lines[2] == f"other  127.0.0.1:{nowhere}  any  {why}"
    assert lines[3] == "other as any"
    assert lines[4].startswith("next: look at the address")
    assert err == "1 of 2 failed\n"


def test_what_cannot_be_tried(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, tcp("service", 9))
    assert main(("config", "test", "sevrice", "--config", str(file))) == 2
    assert "there are: service" in capfd.readouterr().err
    file.write_text(file.read_text().replace('"tcp"', '"smoke"'))
    assert main(("config", "test", "--config", str(file))) == 1
    assert "protocol" in capfd.readouterr().err
