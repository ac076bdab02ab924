"""``[[users]]`` and ``[[groups]]``: who there is, and what they may do besides asking for access."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from gateway_config.passwords import check_hash
from gateway_config.settings import Section, setting
from gateway_config.values import Line, Name

PasswordHash = Annotated[str, AfterValidator(check_hash)]


class User(Section):
    """A person, or a service account."""

    name: Name = setting("What people type and read, and policies speak of.", "live")
    id: Name | None = setting(
        "What grants, locks, votes and the trail hold of the user; it never changes. Left out, it is the name: who "
        "renames somebody writes the old name here. Nobody's id is somebody else's name.",
        "live",
        None,
    )
    groups: tuple[Name, ...] = setting("Names of the groups the user belongs to.", "live", ())
    password_hash: PasswordHash | None = setting(
        "Argon2id hash of the password (a literal: it is a hash). Without it the user cannot log in by password.",
        "live",
        None,
        shown=False,
    )
    display: Line = setting("The name to show to people; `name` where empty.", "live", "")

    @property
    def lasting_id(self) -> str:
        """The id, also where it is left out."""
        return self.id or self.name


class Group(Section):
    """A set of users that policies and approvals speak of. Users name their groups."""

    name: Name = setting("The group's name; `group:NAME` in policies.", "live")
    roles: tuple[Literal["admin", "auditor"], ...] = setting(
        "What its members may do besides asking: `admin` (revoke, cut, lock, reload; see who is "
        "where, what runs, and the trail), `auditor` (see all that; watch and replay everybody's sessions).",
        "live",
        (),
    )
