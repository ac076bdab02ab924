"""Every example serves: with real processes, the files and secrets it speaks of, and this machine's addresses."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway_config.loading import load
from gateway_config.schema import Config
from proxy.cli.demo.postgres import free_port
from tests.gateway_config.files import EXAMPLES, furnish, pair, put
from tests.peers.postgres import SUPERUSER, Cluster

READY_WITHIN = 100.0
LISTENING_WITHIN = 20.0


@pytest.mark.timeout(150)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.stem)
def test_an_example_serves(example: Path, request: pytest.FixtureRequest) -> None:
    with tempfile.TemporaryDirectory(prefix="tidegate-") as name:
        file = Path(name) / "gateway.toml"
        file.write_text(here(example.read_text(), file.parent))
        with stored(file, request):
            config = load(file, with_surroundings=False)
            environment = furnish(config, file.parent, pair())
            furnish_store(file.parent, request)
            with serving(file, environment) as process:
                ready = until_ready(process, config)
                until_listening(config)
            assert ready["nodes"] == config.gateway.workers
            assert re.fullmatch("[0-9a-f]{64}", ready["digest"])
            assert process.returncode == 0


def here(text: str, folder: Path) -> str:
    """The example with this machine's free ports, a folder of its own, and one worker, else as it is."""
    text = re.sub(
        r'^(address|listen) = "(0\.0\.0\.0|127\.0\.0\.1|\[::\]):\d+"',
        lambda found: f'{found[1]} = "127.0.0.1:{free_port()}"',
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^workers = \d+", "workers = 1", text, flags=re.MULTILINE)
    text = text.replace("/var/lib/tidegate", str(folder / "var"))
    return text if "[api]" in text else f'{text}\n[api]\nlisten = "127.0.0.1:{free_port()}"\n'


@contextmanager
def stored(file: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the example's store is a server's, a database of its own in a real one."""
    text = file.read_text()
    if "postgresql://" not in text:
        yield
        return
    cluster: Cluster = request.getfixturevalue("postgres15")
    with cluster.fresh_database(template="") as database:
        url = f"postgresql://{SUPERUSER}@127.0.0.1:{cluster.port}/{database}"
        file.write_text(re.sub(r'"postgresql://[^"]*"', f'"{url}"', text))
        yield


def furnish_store(folder: Path, request: pytest.FixtureRequest) -> None:
    secret = folder / "secrets" / "store-password"
    if secret.exists():
        cluster: Cluster = request.getfixturevalue("postgres15")
        put(secret, cluster.passwords[SUPERUSER])


@contextmanager
def serving(file: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.cli", "serve", "--config", str(file)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def until_listening(config: Config) -> None:
    """Every listener takes connections: a worker counts as a node before it does, also if it then fails."""
    deadline = time.monotonic() + LISTENING_WITHIN
    for listener in config.listeners:
        while True:
            try:
                socket.create_connection((listener.address.host, listener.address.port), timeout=5).close()
                break
            except OSError as error:
                assert time.monotonic() < deadline, f"{listener.name}: {error}"
                time.sleep(0.05)


def until_ready(process: "subprocess.Popen[bytes]", config: Config) -> dict[str, Any]:
    """What ``/readyz`` says once all workers are there and the gateway is ready."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"{'https' if config.api.tls else 'http'}://{config.api.listen}/readyz"
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=5) as answer:
                ready: dict[str, Any] = json.load(answer)
            if ready["nodes"] == config.gateway.workers:
                return ready
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                _, said = process.communicate()
                raise AssertionError(f"it does not serve ({error}):\n{said.decode()[-3000:]}") from None
        time.sleep(0.05)
