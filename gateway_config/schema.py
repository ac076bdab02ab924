"""The whole configuration as one frozen value, its digest, and its JSON Schema.

Built by ``loading``; read by the composition root and ``proxy.adapters``. Paths stay as they were written, so that
the digest does not depend on the folder; ``locate`` makes them absolute.
"""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import PrivateAttr

from gateway_config.listeners import Listener
from gateway_config.people import Group, User
from gateway_config.policies import Policy
from gateway_config.resources import Resource
from gateway_config.runtime import Api, Gateway, Limits, Recordings, Store, Tokens, Trail
from gateway_config.settings import Section, default_of, is_per_node, setting
from gateway_config.values import FilePatterns


class Config(Section):
    """What one file says, with those that it includes."""

    include: FilePatterns = setting(
        "Files with more policies, after those of this file: paths or patterns such as `policies/*.toml`.",
        "live",
        (),
        per_node=True,
    )
    gateway: Gateway = setting("The process itself.", "restart", Gateway())
    store: Store = setting("Where everything that must survive lives.", "restart", Store())
    recordings: Recordings = setting("Where and how sessions are recorded.", "restart", Recordings())
    trail: Trail = setting("Where signed heads of the trail are kept besides.", "restart", Trail())
    tokens: Tokens = setting("The tokens that name a grant.", "restart", Tokens())
    limits: Limits = setting("What anyone may cost the gateway.", "new_sessions", Limits())
    api: Api = setting("The HTTP API.", "restart", Api())
    listeners: tuple[Listener, ...] = setting("Where clients connect.", "restart", ())
    users: tuple[User, ...] = setting("People and service accounts.", "live", ())
    groups: tuple[Group, ...] = setting("Groups that policies and approvals speak of.", "live", ())
    resources: tuple[Resource, ...] = setting("The targets.", "live", ())
    policies: tuple[Policy, ...] = setting("Who may have what.", "live", ())

    _base: Path = PrivateAttr(default_factory=Path)

    @property
    def base(self) -> Path:
        """The folder of the file: what relative paths and ``file:`` references are relative to."""
        return self._base

    def based_on(self, folder: Path) -> "Config":
        """The same configuration, as read from a file in ``folder``."""
        twin = self.model_copy()
        twin._base = folder.absolute()
        return twin

    def locate(self, path: Path) -> Path:
        """The absolute form of a path that is written in the file."""
        return (self._base / path.expanduser()).absolute()

    @property
    def state_dir(self) -> Path:
        return self.locate(self.gateway.state_dir)

    @property
    def recordings_dir(self) -> Path:
        return self.locate(self.recordings.dir) if self.recordings.dir else self.state_dir / "recordings"

    @property
    def keys_dir(self) -> Path:
        return self.locate(self.tokens.keys_dir) if self.tokens.keys_dir else self.state_dir / "keys"

    @property
    def store_url(self) -> str:
        """The store's URL without its password: ``sqlite:////absolute/path`` or the ``postgresql://`` one."""
        url = self.store.url
        if url is None:
            return f"sqlite:///{self.state_dir / 'tidegate.db'}"
        if url.startswith("postgresql:"):
            return url
        written = urlsplit(url)
        located = self.locate(Path(written.path.removeprefix("/")))
        return f"sqlite:///{located}" + (f"?{written.query}" if written.query else "")


def digest(config: Config) -> str:
    """Hex SHA-256 over the settings that nodes of one cluster must agree on (all that are not ``per_node``) and
    that are not at their default, in canonical JSON. So a setting that only a later version has changes nothing
    until somebody sets it. References take part, not the secrets they lead to."""
    text = json.dumps(_shared(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _shared(section: Section) -> dict[str, Any]:
    plain = section.model_dump(mode="json")
    return {
        name: _shared_value(getattr(section, name), plain[name])
        for name, field in type(section).model_fields.items()
        if not is_per_node(field) and not _is_default(getattr(section, name), default_of(type(section), name))
    }


def _is_default(value: Any, default: Any) -> bool:
    """Whether it is the default in all that nodes must agree on. A value with a default has its type, so 1 and true
    do not meet here."""
    if isinstance(value, Section) and type(value) is type(default):
        return _shared(value) == _shared(default)
    return bool(value == default)


def _shared_value(value: Any, plain: Any) -> Any:
    if isinstance(value, Section):
        return _shared(value)
    if isinstance(value, tuple):
        return [_shared_value(each, bare) for each, bare in zip(value, plain, strict=True)]
    return plain


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file, for editors. Each setting says with ``reload`` when a change of it
    takes effect."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(mode="validation"),
        "title": "Tidegate configuration",
    }
