"""What the Dockerfile promises, read from it: it cannot be built here, but it can be held to its word."""

import http.server
import json
import os
import re
import shlex
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peers.certificates import Authority

ROOT = Path(__file__).parents[1]
SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|_KEY\b|PRIVATE", re.IGNORECASE)


class Instruction(NamedTuple):
    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """A Dockerfile's instructions, continued lines joined and comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages(found: Sequence[Instruction]) -> list[list[Instruction]]:
    made: list[list[Instruction]] = []
    for each in found:
        if each.word == "FROM":
            made.append([])
        made[-1].append(each)
    return made


def broken_promises(text: str) -> list[str]:
    """What is wrong with a Dockerfile; [] when it keeps its word."""
    every = instructions(text)
    build, *others = stages(every)
    final = others[-1] if others else build
    words = [each.word for each in final]
    users = [each.rest for each in final if each.word == "USER"]
    rules = {
        "has one stage": not others,
        "runs as root": not users or users[-1].split(":")[0] in ("0", "root"),
        "has no health check": "HEALTHCHECK" not in words,
        "installs as who it runs as": "USER" in words and "RUN" in words[words.index("USER") :],
        "copies sources into the image": any(each.word in ("COPY", "ADD") for each in final),
        "copies everything": any(each.word in ("COPY", "ADD") and each.rest.split()[0] == "." for each in every),
        "has a secret in a layer": any(each.word in ("ENV", "ARG") and SECRET.search(each.rest) for each in every),
        "has no fixed command": "ENTRYPOINT" not in words or "CMD" not in words,
    }
    return [name for name, broken in rules.items() if broken]


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_it_keeps_its_promises(text: str) -> None:
    assert broken_promises(text) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("USER 10001:10001", "", "runs as root"),
        ("USER 10001:10001", "USER root", "runs as root"),
        ("HEALTHCHECK", "LABEL x=", "has no health check"),
        ("COPY proxy proxy", "COPY . .", "copies everything"),
        ("ENV PYTHON", "ENV TIDEGATE_PASSWORD=x PYTHON", "has a secret in a layer"),
        ("EXPOSE", "ARG STORE_TOKEN\nEXPOSE", "has a secret in a layer"),
        ("EXPOSE", "COPY --from=build /source /app\nEXPOSE", "copies sources into the image"),
        ("FROM python:3.13-slim\n", "", "has one stage"),
    ],
)
def test_a_broken_promise_is_found(text: str, old: str, new: str, complaint: str) -> None:
    assert old in text
    assert complaint in broken_promises(text.replace(old, new))


def test_what_it_copies_is_there_and_passes_the_ignore_file(text: str) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [source for each in instructions(text) if each.word == "COPY" for source in each.rest.split()[:-1]]
    assert set(sources) == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_it_installs_what_runs_a_gateway(text: str) -> None:
    installs = [each.rest for each in instructions(text) if each.word == "RUN" and "pip " in each.rest]
    assert [shlex.split(each)[-1] for each in installs] == [".[server]", "tidegate[server]"]


def test_its_python_is_one_the_project_supports(text: str) -> None:
    versions = {each.rest.split()[0] for each in instructions(text) if each.word == "FROM"}
    assert versions == {"python:3.13-slim"}


@contextmanager
def api(folder: Path, status: int) -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority.create().server(["gateway.example.com"]).write(folder, "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}/healthz"
        server.shutdown()
        thread.join()


def health(text: str, url: str) -> int:
    """Run the health check's own command against ``url``."""
    check = next(each.rest for each in instructions(text) if each.word == "HEALTHCHECK")
    program, *arguments = json.loads(check[check.index("[") :])
    assert program == "python"
    env = os.environ | {"TIDEGATE_HEALTH": url}
    done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, timeout=30, check=False)
    return done.returncode


def test_the_health_check_tells_well_from_ill(text: str, tmp_path: Path) -> None:
    with api(tmp_path, 200) as url:
        assert health(text, url) == 0
    with api(tmp_path, 503) as url:
        assert health(text, url) == 1
    assert health(text, "https://127.0.0.1:1/healthz") == 1
