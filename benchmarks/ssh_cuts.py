"""How fast a revocation cuts SSH: ``python -m benchmarks.ssh_cuts``. 500 live sessions; from the last byte
of the request to the client's end of file, and until a command on the host is gone: root's, and somebody else's.

The clients are asyncssh's, which does nothing while it is measured: the kernel says when the end of each has come.
"""

import asyncio
import os
import select
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncssh

from benchmarks.cuts import note_cuts, post, told
from benchmarks.series import Round, Series, options
from tests.peers.proof import until
from tests.peers.ssh_gateway import SshGateway, ssh_gateway
from tests.peers.sshd import ordinary, running, sshd

PATIENCE = 20.0
ROOTS, SOMEBODYS = "a running sleep of root's gone", "a running sleep of somebody else's gone"
LIMITS = {"sessions_per_grant": "0", "pending_per_source": "256"}


@dataclass
class Line:
    """One session and its socket."""

    connection: asyncssh.SSHClientConnection
    grant: str

    @property
    def descriptor(self) -> int:
        return int(self.connection.get_extra_info("socket").fileno())


def main() -> None:
    """One by one, all at once, and running commands."""
    asked = options(__doc__, runs=1)
    asked.add_argument("--sessions", type=int, default=500)
    asked.add_argument("--commands", type=int, default=10)
    chosen = asked.parse_args()
    series = Series(f"Cuts over SSH, {chosen.sessions} sessions live", chosen.runs, once=chosen.once)
    for each in series.rounds():
        # The system's own limit on half-open log-ins is not what is measured.
        with sshd(settings={"MaxStartups": "2000"}) as host, ssh_gateway(host, settings=LIMITS) as gate:
            asyncio.run(sessions(each, gate, chosen.sessions))
            note_cuts(each, ROOTS, asyncio.run(commands(gate, chosen.commands)))
        with sshd(user=ordinary()) as host, ssh_gateway(host, settings=LIMITS) as gate:
            note_cuts(each, SOMEBODYS, asyncio.run(commands(gate, chosen.commands)))
    for name in ("one at a time", "all at once", ROOTS, SOMEBODYS):
        told(series, name)
    series.finish()


async def sessions(each: Round, gate: SshGateway, count: int) -> None:
    lines = [await opened(gate) for _ in range(count)]
    half = lines[: count // 2]
    note_cuts(each, "one at a time", [cut(gate, f"/v1/grants/{line.grant}/revoke", {}, [line])[0] for line in half])
    await asyncio.sleep(1)  # asyncssh learns that they have ended
    rest = lines[count // 2 :] + [await opened(gate) for _ in half]
    note_cuts(each, "all at once", cut(gate, "/v1/revocations", {"scope": "resource", "key": "box"}, rest))


async def opened(gate: SshGateway) -> Line:
    assert gate.target is not None
    grant = gate.ssh_grant()
    connection = await asyncssh.connect(
        "127.0.0.1", gate.port, username=gate.target.user, password=gate.token(gate.target.user, "alice", grant,
        resource="box"), known_hosts=None, client_keys=None, agent_path=None, config=None,
        preferred_auth="password",
    )  # fmt: skip
    return Line(connection, grant)


def cut(gate: SshGateway, path: str, body: dict[str, str], lines: Sequence[Line]) -> list[float]:
    """Seconds until each client was told that no more comes."""
    waiting = select.epoll()
    for line in lines:
        waiting.register(line.descriptor, select.EPOLLRDHUP)
    ended: list[float] = []
    with Posted(gate, path, body) as posted:
        deadline = time.monotonic() + PATIENCE
        while len(ended) < len(lines) and time.monotonic() < deadline:
            for descriptor, _ in waiting.poll(1):
                waiting.unregister(descriptor)
                ended.append(time.monotonic())
    waiting.close()
    if len(ended) < len(lines):
        raise SystemExit(f"only {len(ended)} of {len(lines)} sessions have ended")
    return [each - posted.sent for each in ended]


async def commands(gate: SshGateway, count: int) -> list[float]:
    took = []
    for _ in range(count):
        line, mark = await opened(gate), str(time.monotonic_ns())
        await line.connection.create_process(f"exec sleep {mark}")
        until(lambda mark=mark: bool(running(f"sleep\0{mark}")))  # type: ignore[misc]
        (pid,) = running(f"sleep\0{mark}")
        gone = os.pidfd_open(pid)
        with Posted(gate, f"/v1/grants/{line.grant}/revoke", {}) as posted:
            if not select.select([gone], [], [], PATIENCE)[0]:
                raise SystemExit("the command has not ended")
            ended = time.monotonic()
        os.close(gone)
        took.append(ended - posted.sent)
    return took


class Posted:
    """A request that is made meanwhile, by a thread; ``sent`` when it is over."""

    def __init__(self, gate: SshGateway, path: str, body: dict[str, str]) -> None:
        self.sent = 0.0
        self._thread = threading.Thread(target=self._send, args=(gate, path, body))

    def _send(self, gate: SshGateway, path: str, body: dict[str, str]) -> None:
        self.sent = asyncio.run(post(gate, path, {**body, "reason": "benchmark"}))

    def __enter__(self) -> "Posted":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)


if __name__ == "__main__":
    main()
