"""The API served for real on a port of 127.0.0.1, and the command run against it in this process."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn

from proxy.cli.main import main
from tests.api.world import PASSWORD, ApiWorld, api_world


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs ``tidegate`` as somebody, each with a home of their own."""

    url: str
    homes: Path
    monkeypatch: pytest.MonkeyPatch
    captured: Callable[[], tuple[str, str]]
    logged_in: set[str] = field(default_factory=set)

    def home(self, name: str) -> Path:
        return self.homes / name

    def run(self, *words: str) -> Done:
        """Without changing who one is."""
        self.captured()
        code = main(words)
        return Done(code, *self.captured())

    def become(self, name: str) -> None:
        self.monkeypatch.setenv("TIDEGATE_HOME", str(self.home(name)))

    def __call__(self, name: str, *words: str) -> Done:
        """As ``name``, logged in."""
        self.become(name)
        if name not in self.logged_in:
            done = self.run("login", "--user", name)
            assert done.code == 0, done.err
            self.logged_in.add(name)
        return self.run(*words)


@pytest.fixture
def world() -> ApiWorld:
    return api_world()


@pytest.fixture
def quiet() -> Iterator[None]:
    """The API's log goes nowhere: it would stand among what the command prints."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def api_url(world: ApiWorld, quiet: None) -> Iterator[str]:
    """The API of ``world`` behind uvicorn in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(world.api, log_config=None, lifespan="on", ws="none", loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture
def tidegate(
    api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Shell:
    for name in ("TIDEGATE_CA", "TIDEGATE_PG_HOST", "TIDEGATE_PG_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDEGATE_API", api_url)
    monkeypatch.setenv("TIDEGATE_PASSWORD", PASSWORD)
    return Shell(api_url, tmp_path, monkeypatch, lambda: tuple(capfd.readouterr()))
