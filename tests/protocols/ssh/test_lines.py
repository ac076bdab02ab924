"""What ``lines`` leans on in asyncssh is there in the release that is installed, and does what it is for."""

import ast
import inspect
import textwrap
from functools import cache
from importlib.metadata import version
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_CLOSE, MSG_IGNORE, MSG_KEXINIT
from asyncssh.misc import map_handler_name
from asyncssh.packet import SSHPacket

from proxy.protocols.ssh import line_channels, lines, tolerance, tries
from tests.contracts.test_engines import World, world
from tests.protocols.ssh.test_engine import client

__all__ = ["world"]

OURS = [
    *(line_channels.ServerChannel, line_channels.ClientChannel, line_channels.TcpChannel),
    *(line_channels.UnixChannel, lines.ServerLine, lines.TargetLine),
    *(tries.KeyTry, tries.PasswordTry, tries.QuestionTry),
]
FILES = {each.__name__ for each in (lines, line_channels, tolerance, tries)}
OWN = {
    "_close", "_first_kexinit", "_hurry", "_rekeyed", "_moved_at_rekey", "_bound_rekeying", "_speak_first",
    "_skipped", "_bears", "_pass_over", "_taken_in", "_while_it_hears", "_carried_out",
}  # fmt: skip
"""Private names of our classes that asyncssh need not have, or that the next test looks at."""


@cache
def source(kind: type) -> str:
    return textwrap.dedent(
        "".join(inspect.getsource(each) for each in kind.__mro__ if "asyncssh" in each.__module__)
    )


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_inner_name_is_asyncsshs(kind: type) -> None:
    bodies = [inspect.getsource(each) for each in kind.__mro__ if each.__module__ in FILES]
    tree = ast.parse("\n".join(textwrap.dedent(each) for each in bodies))
    used = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute) and each.attr.startswith("_")}
    lost = {each for each in used - OWN if not each.startswith("__") and each not in source(kind)}
    assert not lost, f"asyncssh {version('asyncssh')} has no {sorted(lost)}"


def test_what_is_overridden_is_called_by_name() -> None:
    for name in sorted(line_channels.KNOWN):
        method = f"_process_{map_handler_name(name)}_request"
        assert callable(getattr(line_channels.ServerChannel, method))
    assert MSG_CHANNEL_CLOSE in asyncssh.SSHServerChannel._packet_handlers
    assert MSG_KEXINIT in asyncssh.SSHServerConnection._packet_handlers
    for method in (
        *("_send_kexinit", "_cleanup", "validate_public_key", "_recv_version", "_recv_packet", "_finish_userauth"),
        *("_finish_recv_packet", "_make_keepalive_request", "_reset_keepalive_timer", "log_received_packet"),
    ):
        assert callable(getattr(asyncssh.SSHServerConnection, method)), method
    for method in ("_service_next_request", "_start_session", "_report_response", "_accept_data"):
        assert callable(getattr(asyncssh.SSHServerChannel, method)), method
    assert {"data", "datatype"} <= set(inspect.signature(asyncssh.SSHServerChannel.write).parameters)
    taken = list(inspect.signature(asyncssh.SSHServerConnection.send_packet).parameters)
    assert taken == ["self", "pkttype", "args", "handler"]


@pytest.mark.parametrize("world", ["ssh"], indirect=True)
async def test_no_empty_packets_go_along(world: World) -> None:
    ignored = 0

    def count(line: Any, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        nonlocal ignored
        ignored += 1

    async with client(world, encryption_algs=["aes128-gcm@openssh.com"]) as line:
        inner: Any = line
        inner._packet_handlers = {**inner._packet_handlers, MSG_IGNORE: count}
        for _ in range(5):
            assert (await line.run("quick")).exit_status == 0
        heard = inner._recv_seq
    assert heard > 20
    assert ignored == 0
