"""Keeps a world running: the targets beside the gateway, the gateway as our child, until one of us is to end.

===========================  =========  ============================================================
what happens                 gateway    targets
===========================  =========  ============================================================
Ctrl-C, SIGTERM              stopped    stopped; without ``--dir`` the world is removed
the gateway ends by itself   is gone    left running with ``--dir``, else stopped and removed
we are killed                SIGTERM    left running with ``--dir``, else shut down by the kernel
===========================  =========  ============================================================
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from proxy.cli.client import Api
from proxy.cli.demo.beside import Beside, NotRunning
from proxy.cli.demo.box import erase_box, prepare_box
from proxy.cli.demo.builds import PostgresError
from proxy.cli.demo.lifeline import held, signalled_when_we_die
from proxy.cli.demo.postgres import free_port, is_free
from proxy.cli.demo.target import erase_target, prepare_target, start_target
from proxy.cli.demo.world import HOST, World, refuse_others_folder
from proxy.cli.failures import FAILED, USAGE, Failed
from proxy.core.grounds import WORDS, Ground

SERVE = (sys.executable, "-m", "proxy.cli", "serve", "--config")
ROOT = Path(__file__).parents[3]
READY_SECONDS = 60.0
# The gateway's own grace for sessions, and a little more.
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05


class Stopped(BaseException):
    """Somebody asked us to end: Ctrl-C or SIGTERM."""


def keep_running(
    folder: Path | None, *, port_base: int | None, postgres: str | None, ready: Callable[[World], None]
) -> None:
    """Run a world until Ctrl-C or until its gateway ends, which is ``Failed``.

    ``folder`` None: a temporary world. ``ready`` is called once, when everything listens.
    """
    with ExitStack() as stack:
        stack.enter_context(_stoppable())
        stack.enter_context(suppress(Stopped))
        place = stack.enter_context(_temporary_folder()) if folder is None else _made(folder)
        if not stack.enter_context(held(place / "lock")):
            raise Failed(
                f"a demo is running in {place} already", hint="stop it, or choose another --dir", code=USAGE
            )
        world = World.at(place, port_base=port_base, postgres=postgres)
        world.withdraw()
        stack.callback(world.withdraw)
        _run(world, keep=folder is not None, ready=ready)


def _run(world: World, *, keep: bool, ready: Callable[[World], None]) -> None:
    stops: list[Callable[[], None]] = []
    leave_targets = False
    try:
        world = _with_targets(world, stops, keep=keep)
        gateway = start_gateway(world)
        try:
            wait_until_ready(world, gateway)
            world.announce(gateway.pid)
            ready(world)
            code = gateway.wait()
            leave_targets = keep
        finally:
            stop_gateway(gateway)
        raise Failed(
            f"the gateway ended by itself ({_how(code)}){_traces(world, keep)}", hint=_onwards(world, keep)
        )
    finally:
        if not leave_targets:
            for stop in reversed(stops):
                stop()


def _with_targets(world: World, stops: list[Callable[[], None]], *, keep: bool) -> World:
    """The world with the ports that its targets have, which run; what stops them is put into ``stops``."""
    try:
        world = _with_database(world, stops, keep=keep)
    except PostgresError as error:
        raise Failed(f"the demo's database cannot be had: {error}") from None
    try:
        return _with_box(world, stops, keep=keep)
    except NotRunning as error:
        raise Failed(f"a target of the demo cannot be had: {error}") from None


def _with_database(world: World, stops: list[Callable[[], None]], *, keep: bool) -> World:
    target = prepare_target(world.folder, world.postgres, world.ports.target, world.logins, dies_with_us=not keep)
    if target.pid is None and not is_free(world.ports.target):
        world = world.with_ports(target=free_port())
        target.port = world.ports.target
    stops.append(target.stop)
    start_target(target, world.logins)
    return world


def _with_box(world: World, stops: list[Callable[[], None]], *, keep: bool) -> World:
    ssh, echo = _box(world, keep)
    taken = [name for name, each in (("box", ssh), ("echo", echo)) if each.pid is None and not is_free(each.port)]
    if taken:
        world = world.with_ports(**{name: free_port() for name in taken})
        ssh, echo = _box(world, keep)
    for each in (ssh, echo):
        stops.append(each.stop)
        each.start()
    return world


def _box(world: World, keep: bool) -> Sequence[Beside]:
    return prepare_box(world.folder, ssh=world.ports.box, echo=world.ports.echo, dies_with_us=not keep)


def start_gateway(world: World) -> "subprocess.Popen[bytes]":
    """``tidegate serve`` as a child of ours, in a session of its own: a typed Ctrl-C is for us alone."""
    world.write()
    if world.log.exists():
        world.log.replace(world.log.with_suffix(".log.1"))
    log = os.open(world.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves
            (*SERVE, str(world.configuration)),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=signalled_when_we_die(signal.SIGTERM),  # noqa: PLW1509 - no threads here
        )
    finally:
        os.close(log)


def _environment() -> dict[str, str]:
    """Ours, with this very package first, and with nothing imported from the folder the demo is started in."""
    path = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def wait_until_ready(world: World, gateway: "subprocess.Popen[bytes]") -> None:
    """Return when its API says it is ready and its listener accepts; ``Failed`` if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while not (_api_is_ready(world) and all(map(_accepts, world.listeners))):
        if gateway.poll() is not None:
            raise Failed(f"the gateway did not start ({_how(gateway.returncode)}):\n{_last_words(world)}")
        if time.monotonic() > deadline:
            raise Failed(f"the gateway is not ready after {READY_SECONDS:.0f} s:\n{_last_words(world)}")
        time.sleep(POLL_SECONDS)


def stop_gateway(gateway: "subprocess.Popen[bytes]") -> None:
    """Ask it to end (its sessions get their farewell), then make it."""
    if gateway.poll() is not None:
        return
    gateway.terminate()
    try:
        gateway.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, Stopped):
        with suppress(ProcessLookupError):
            os.killpg(gateway.pid, signal.SIGKILL)
        gateway.wait()


def _api_is_ready(world: World) -> bool:
    """Whether it is, or waits for `tidegate audit restored`: it says so to everybody, and waiting is no use."""
    try:
        Api(world.api, ca=str(world.ca)).raw("GET", "/readyz")
    except Failed as failed:
        return WORDS[Ground.STORE_OLDER] in failed.problem.get("reasons", ())
    return True


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def again(folder: Path) -> str:
    """The command that takes the world in ``folder`` up again."""
    return f"tidegate demo --dir {shlex.quote(str(folder))}"


def _traces(world: World, keep: bool) -> str:
    """Where to read on; a temporary world's log goes with it, so its end is told."""
    return f"; its log: {world.log}" if keep else f":\n{_last_words(world)}"


def _onwards(world: World, keep: bool) -> str:
    return f"the targets run on; to take this world up again: {again(world.folder)}" if keep else ""


def _last_words(world: World) -> str:
    return "\n".join(world.log.read_text(errors="replace").splitlines()[-20:])


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _made(folder: Path) -> Path:
    """``folder``, absolute and without ``..``; one made here can be passed through, so that PostgreSQL's user
    reaches its own part: whatever is secret in it says so itself. ``Failed`` before anything is touched where
    something else is there."""
    place = folder.resolve()
    try:
        place.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{folder} cannot be made: {error.strerror}", code=FAILED) from None
    refuse_others_folder(place)
    return place


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="tidegate-demo-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        erase_target(place)
        erase_box(place)
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise ``Stopped`` wherever we are, so that every ``finally`` has its turn."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
