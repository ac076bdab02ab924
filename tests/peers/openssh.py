"""OpenSSH's clients and what stands on them (rsync, git, Ansible), on their way to one host: straight to an sshd or
through the gateway.

A ``Door`` is such a way. Its programs see nothing of ~/.ssh: the host is called ``box`` in an ssh_config of their
own, a password (a token) comes from SSH_ASKPASS, and every call has an end.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.peers.sshd import Sshd, program

WITHIN = 40
Done = subprocess.CompletedProcess[bytes]


@dataclass(frozen=True, slots=True)
class Door:
    """A way to the host. ``known_hosts`` are lines that name it; the user is known by ``password`` or ``key``, a
    private key's file (with ``certificate`` where that is what proves it). ``options`` are lines of ssh_config."""

    name: str
    folder: Path
    port: int
    user: str
    known_hosts: str
    password: str = ""
    key: Path | None = None
    certificate: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def having(self, **options: str) -> "Door":
        """The same with more lines of ssh_config."""
        return replace(self, options={**self.options, **options})

    def over(self, port: int) -> "Door":
        """The same by way of ``port``, where a line to the host listens."""
        return replace(self, port=port, known_hosts=self.known_hosts.replace(f":{self.port} ", f":{port} "))

    @property
    def config(self) -> Path:
        """Written anew each time: an ssh_config in which the host is ``box``."""
        lines = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": self.user,
            "UserKnownHostsFile": str(self._file("known_hosts", self.known_hosts)),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ConnectTimeout": "15",
            "IdentityAgent": "none",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(self.key) if self.key else "none",
            "NumberOfPasswordPrompts": "1",
            "PreferredAuthentications": "publickey" if self.key else "password",
            **({"CertificateFile": str(self.certificate)} if self.certificate else {}),
            **self.options,
        }
        text = "Host box\n" + "".join(f"  {name} {value}\n" for name, value in lines.items())
        return self._file(f"config-{abs(hash(text)):x}", text)

    def environment(self, **more: str) -> dict[str, str]:
        """For any program that calls ssh, also by way of others."""
        asking = self._file("askpass", '#!/bin/sh\nprintf "%s\\n" "$DOOR_PASSWORD"\n', 0o700)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "SSH_ASKPASS": str(asking),
            "SSH_ASKPASS_REQUIRE": "force",
            "DOOR_PASSWORD": self.password,
            **more,
        }

    def line(self, name: str, *args: str) -> list[str]:
        """The command line of ssh, scp or sftp."""
        return [program(name), "-F", str(self.config), *args]

    def ssh(self, *args: str, data: bytes = b"", within: float = WITHIN, **environment: str) -> Done:
        """``ssh box ARGS``; options go into ``having``."""
        return self.run(self.line("ssh", "box", *args), data=data, within=within, **environment)

    def run(
        self,
        command: Sequence[str],
        *,
        data: bytes = b"",
        within: float = WITHIN,
        cwd: Path | None = None,
        **env: str,
    ) -> Done:
        """What a program said and left, whatever its return code."""
        with self.running(command, cwd=cwd, **env) as process:
            try:
                out, err = process.communicate(data, within)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"{command} has not ended: {out[-500:]!r} {err[-500:]!r}") from None
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    @contextmanager
    def running(
        self, command: Sequence[str], *, cwd: Path | None = None, **env: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The program while it runs, with pipes; it and its children are gone after the ``with``."""
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.folder,
            env=self.environment(**env),
            start_new_session=True,  # no terminal to ask on, and one name for all of its processes
        )
        try:
            yield process
        finally:
            # Once it is reaped, its id is free when nobody of its group is left: who has it then is a stranger.
            if process.returncode is None or not Path(f"/proc/{process.pid}").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def batch(self, *lines: str) -> Done:
        """sftp with a batch of its own words; it stops at the first that fails."""
        # -b means that nobody can be asked for a password, unless something else was said first.
        command = self.line("sftp", "-oBatchMode=no", "-b", "-", "box")
        return self.run(command, data="".join(f"{each}\n" for each in lines).encode())

    def _file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(mode)
        return path


def direct(target: Sshd, folder: Path) -> Door:
    """Straight to the target, with its own key: what a test expects must be what OpenSSH itself does."""
    folder.mkdir(parents=True, exist_ok=True)
    return Door("direct", folder, target.port, target.user, target.known_hosts(), key=target.key)
