"""``[[resources]]`` with ``protocol = "ssh"``: hosts, their users, and what sessions of these may do."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from gateway_config.destinations import Destination
from gateway_config.environment import variables
from gateway_config.public_keys import public_key
from gateway_config.references import SecretReference
from gateway_config.settings import Section, setting
from gateway_config.targets import AnyResource
from gateway_config.values import Count, Flag, target_name


def user_name(value: str) -> str:
    """A user of a host: a certificate's principal and a word of `ssh_config` too."""
    if any(sign.isspace() or sign in ":,\"'" for sign in value) or value.startswith("-"):
        raise ValueError("should be a user's name, without blanks, ':', ',' and quotes, not beginning with '-'")
    return target_name(value)


UserName = Annotated[str, AfterValidator(user_name)]
PublicKey = Annotated[str, AfterValidator(public_key)]
Variables = Annotated[str, AfterValidator(variables)]


class SshAccount(Section):
    """A user of the host that people ask for; only the gateway holds its credential."""

    name: UserName = setting("The user's name on the host, which is the one people log in as.", "new_sessions")
    password: SecretReference | None = setting(
        "Reference to the password (`env:NAME`, `file:PATH`). An account has this, `key` or `certificate`.",
        "new_sessions",
        None,
    )
    key: Path | None = setting(
        "A private key (OpenSSH or PEM, not encrypted; not readable by everyone).", "new_sessions", None
    )
    certificate: Flag = setting(
        "Whether the gateway's own authority issues a certificate for each session. The host must trust it "
        "(`TrustedUserCAKeys`).",
        "new_sessions",
        False,
    )
    principal: UserName | None = setting(
        "Whom that certificate is for, where it is not the account's name.", "new_sessions", None
    )
    allow: tuple[Literal["shell", "exec", "transfer"], ...] = setting(
        "What its sessions may do: `shell` (log in), `exec` (run commands), `transfer` (sftp and scp).",
        "new_sessions",
        ("shell", "exec", "transfer"),
    )
    forward: tuple[Destination, ...] = setting(
        "Where its sessions may open connections to through the host (`ssh -L`, `ssh -W`): each a `host:port`, "
        "`host:first-last`, `host:*` (every port) or `unix:/path` of a socket there; empty: nowhere. Compared as "
        "it is written: a name is not the address it stands for, and `localhost` neither `127.0.0.1` nor `[::1]`.",
        "new_sessions",
        (),
    )
    environment: tuple[Variables, ...] = setting(
        "Environment variables that are passed on to the host: names, or beginnings of names with `*` behind.",
        "new_sessions",
        ("LANG", "LC_*", "TERM", "COLORTERM"),
    )
    forced_command: Flag = setting(
        "For root, whether the host runs one command whatever is asked for (`ForceCommand`): then the gateway "
        "sends none of its own to end what a cut leaves running, since that would run it again. It finds out by "
        "itself for other users, and of a `command=` beside its key.",
        "new_sessions",
        False,
    )

    @model_validator(mode="after")
    def _enters_in_one_way(self) -> "SshAccount":
        if (self.password is not None) + (self.key is not None) + self.certificate != 1:
            raise ValueError("needs exactly one of `password`, `key` and `certificate = true`")
        if self.principal is not None and not self.certificate:
            raise ValueError("has a `principal`, which is only for `certificate = true`")
        return self

    @model_validator(mode="after")
    def _may_do_something(self) -> "SshAccount":
        if not self.allow and not self.forward:
            raise ValueError("may do nothing: `allow` and `forward` are empty")
        return self


class SshResource(AnyResource):
    """A host with an SSH server."""

    protocol: Literal["ssh"] = setting('`"ssh"`.', "new_sessions")
    host_keys: tuple[PublicKey, ...] = setting(
        "The host's public keys, as in `ssh_host_*_key.pub` or behind the name in `known_hosts`. A host has these, "
        "`host_authorities`, or both.",
        "new_sessions",
        (),
    )
    host_authorities: tuple[PublicKey, ...] = setting(
        "Public keys of the authorities whose certificate the host may show for the host of `address`.",
        "new_sessions",
        (),
    )
    trust_first_use: Flag = setting(
        "Instead of both: believe the key that the host shows the first time, and no other after it. Whoever is in "
        "its place that first time is believed.",
        "new_sessions",
        False,
    )
    max_sessions: Count = setting(
        "Shells, commands and transfers that run at once over one connection (sshd's `MaxSessions`).",
        "new_sessions",
        10,
        ge=1,
        le=1000,
    )
    max_forwards: Count = setting(
        "Forwarded connections that are open at once over one connection.", "new_sessions", 256, ge=1, le=4096
    )
    accounts: tuple[SshAccount, ...] = setting("The users people can ask for.", "new_sessions", min_length=1)

    @model_validator(mode="after")
    def _is_known(self) -> "SshResource":
        pinned = bool(self.host_keys or self.host_authorities)
        if not pinned and not self.trust_first_use:
            raise ValueError(
                "needs `host_keys` or `host_authorities` to know the host by (`ssh-keyscan` shows its keys: "
                "compare them with those on the host), or `trust_first_use = true`"
            )
        if pinned and self.trust_first_use:
            raise ValueError("has `trust_first_use` beside keys that are known: leave one of them out")
        return self
