"""A command line is a transfer only where no shell can take it for anything else; what an account may do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.access import Outcome
from proxy.core.actions import Action, Connect, Exec, Shell, SocketTunnel, Transfer, Tunnel
from proxy.core.targets import HostPorts, SshAllowance, UnixSocket
from proxy.protocols.ssh.commands import (
    VALUE_MOST,
    VARIABLES_MOST,
    ScpCommand,
    allowed,
    classify,
    environment_refused,
    scp_command,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"scp -t /tmp/f", ScpCommand(b"/tmp/f", True, False, False, False)),
        (b"scp -f /tmp/f", ScpCommand(b"/tmp/f", False, False, False, False)),
        (b"scp -v -r -p -d -t -- /tmp", ScpCommand(b"/tmp", True, True, True, False)),
        (b"scp -rpf -- -x", ScpCommand(b"-x", False, False, True, False)),
        (b"scp -f ~/*.log", ScpCommand(b"~/*.log", False, False, False, True)),
        (b"scp -f '/a b/*;$(x)'", ScpCommand(b"/a b/*;$(x)", False, False, False, False)),
        (rb"scp -f /a\ b\;c", ScpCommand(b"/a b;c", False, False, False, False)),
        (b"scp -t '\xc3\xbc'x", ScpCommand(b"\xc3\xbcx", True, False, False, False)),
    ],
)
def test_scp(line: bytes, expected: ScpCommand) -> None:
    assert scp_command(line) == expected
    assert classify(line) == Transfer(expected.path.decode(), expected.upload)


@pytest.mark.parametrize(
    "line",
    [
        *(b"scp", b"scp -t", b"scp -t -f x", b"scp -ft x", b"scp -tt x", b"scp x y", b"scp - -t x", b"scp -tS x y"),
        *(b"scp -t a b", b"scp -t -x", b"scp -t '-x'", b"scp -o x -t y", b"scp --t x", b"scp -t ''"),
        *(b"/usr/bin/scp -t x", b"env scp -t x", b"X=1 scp -t x", b" scp -t x", b"scp\t-t x", b"rsync --server ."),
        *(b"scp -t x;id", b"scp -t x&id", b"scp -t x|id", b"scp -t $(id)", b"scp -t `id`", b"scp -t x>y"),
        *(b"scp -t x\nid", b"scp -t 'x\nid'", b"scp -t x\\\nid", b"scp -t {a,b}", b'scp -t "x"', b"scp -t $HOME"),
        *(b"scp -t '\\'';id;'\\'''", b"scp -t x'", b"scp -t x\\", b"scp -t x<y", b"scp -t (x)", b"scp -t x\0"),
        *(b"scp -t x #y", b"scp -t !!", b"scp -t \xc2\xa0", b"", b"scp -" + b"v" * 20_000 + b" x"),
    ],
)
def test_everything_else_is_a_command(line: bytes) -> None:
    assert scp_command(line) is None
    assert isinstance(classify(line), Exec)


@given(st.binary(max_size=30))
def test_what_a_shell_acts_on_is_never_unquoted(path: bytes) -> None:
    found = scp_command(b"scp -t " + path)
    if found is not None and not set(path) & set(b"'\\"):
        assert not set(path.strip(b" ")) & set(b' $`;&|<>()\n\t{}!#"^\0')


ALL = SshAllowance(
    forward=(
        HostPorts("db.internal", 5432, 5432),
        HostPorts("127.0.0.1", 1024, 65535),
        HostPorts("::1", 1, 65535),
        UnixSocket("/run/x.sock"),
    )
)
NONE = SshAllowance(shell=False, exec=False, transfer=False)


@pytest.mark.parametrize(
    ("action", "allowance", "outcome"),
    [
        (Exec("id"), ALL, Outcome.ALLOW),
        (Exec("id"), NONE, Outcome.DENY),
        (Shell(), ALL, Outcome.ALLOW),
        (Shell(), NONE, Outcome.DENY),
        (Transfer("/x", True), ALL, Outcome.ALLOW),
        (Transfer("/x", False), SshAllowance(transfer=False), Outcome.DENY),
        (Tunnel("DB.internal", 5432), ALL, Outcome.ALLOW),
        (Tunnel("db.internal", 5433), ALL, Outcome.DENY),
        (Tunnel("db.internal.", 5432), ALL, Outcome.DENY),
        (Tunnel("x.db.internal", 5432), ALL, Outcome.DENY),
        (Tunnel("localhost", 22), SshAllowance(), Outcome.DENY),
        (Tunnel("127.0.0.1", 1024), ALL, Outcome.ALLOW),
        (Tunnel("127.0.0.1", 65535), ALL, Outcome.ALLOW),
        (Tunnel("127.0.0.1", 1023), ALL, Outcome.DENY),
        (Tunnel("127.0.0.1", 65536), ALL, Outcome.DENY),
        (Tunnel("localhost", 8080), ALL, Outcome.DENY),
        (Tunnel("127.1", 8080), ALL, Outcome.DENY),
        (Tunnel("::1", 1), ALL, Outcome.ALLOW),
        (Tunnel("::1", 0), ALL, Outcome.DENY),
        (Tunnel("[::1]", 1), ALL, Outcome.DENY),
        (SocketTunnel("/run/x.sock"), ALL, Outcome.ALLOW),
        (SocketTunnel("/run/../run/x.sock"), ALL, Outcome.DENY),
        (SocketTunnel("/run/x.sock2"), ALL, Outcome.DENY),
        (SocketTunnel(""), ALL, Outcome.DENY),
        (Tunnel("/run/x.sock", 0), ALL, Outcome.DENY),
        (Connect(), ALL, Outcome.DENY),
    ],
)
def test_allowed(action: Action, allowance: SshAllowance, outcome: Outcome) -> None:
    assert allowed(action, allowance, "ops").outcome is outcome


def test_a_refusal_says_what_to_do() -> None:
    only = SshAllowance(shell=False, exec=False)
    reason = allowed(Shell(), only, "ops").reason
    assert reason == (
        "account ops may not open a shell; it may transfer files: ask for another account for the rest"
    )
    assert "ask for another account" in allowed(Shell(), NONE, "ops").reason
    places = "db.internal:5432, 127.0.0.1:1024-65535, [::1]:*, unix:/run/x.sock"
    assert f"it may be forwarded to {places}" in allowed(Tunnel("evil\n\x1b", 1), ALL, "ops").reason
    assert "\x1b" not in allowed(SocketTunnel("/evil\n\x1b"), ALL, "ops").reason
    assert "\x1b" not in allowed(Tunnel("evil\n\x1b", 1), ALL, "ops").reason


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("LANG", "C.UTF-8", ""),
        ("LC_ALL", "de_DE", ""),
        ("GIT_PROTOCOL", "version=2", ""),
        ("LC_ALL", "x" * (VALUE_MOST + 1), "more than"),
        ("LC_ALL", "a\nb", "not printable"),
        ("LC_ALL=x", "a", "no variable's"),
        ("1A", "a", "no variable's"),
        ("LANG\n", "a", "no variable's"),
        ("", "a", "no variable's"),
        *((name, "a", "what programs do") for name in ("LD_PRELOAD", "DYLD_X", "BASH_ENV", "PATH", "PYTHONPATH")),
        *((name, "a", "what programs do") for name in ("GIT_SSH_COMMAND", "GIT_PROXY_COMMAND", "PAGER", "ENV")),
    ],
)
def test_environment(name: str, value: str, why: str) -> None:
    found = environment_refused(name, value, ("*",), 0)
    assert (why in found) if why else not found
    assert "not among" in environment_refused("FOO", "x", ("LC_*",), 0)
    assert not environment_refused("LANG", "C", ("LANG",), VARIABLES_MOST - 1)
    assert environment_refused("LANG", "C", ("LANG",), VARIABLES_MOST)
