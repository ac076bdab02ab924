"""``[[policies]]``: who may have what, for how long, from where, and who must agree."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Tag, model_validator

from gateway_config.settings import Section, setting
from gateway_config.values import Count, Duration, Flag, Name, Network, Size, Texts, name, target_name


def subject(value: str) -> str:
    """``group:NAME``, ``user:NAME`` or ``*``."""
    kind, colon, rest = value.partition(":")
    if value == "*":
        return value
    if not colon or kind not in ("group", "user"):
        raise ValueError('should be "group:NAME", "user:NAME", or "*" for everyone')
    return f"{kind}:{name(rest)}"


def database(value: str) -> str:
    """A database's exact name: patterns would read as if they worked."""
    if value == "*":
        raise ValueError("should be a database's name; leave `databases` out for any")
    return target_name(value)


Subject = Annotated[str, AfterValidator(subject)]
Database = Annotated[str, AfterValidator(database)]
Pattern = Annotated[str, AfterValidator(target_name)]


class Approval(Section):
    """How many members of which group must agree. The requester never counts."""

    count: Count = setting("Approvals needed.", "live", 1, ge=1, le=20)
    group: Name = setting("The group whose members may approve.", "live")


def _kind(value: Any) -> str:
    # The tags are in angle brackets so that loading can leave them out of a problem's path.
    return "<word>" if isinstance(value, str) else "<table>"


Effect = Annotated[
    Annotated[Literal["automatic", "deny"], Tag("<word>")] | Annotated[Approval, Tag("<table>")],
    Discriminator(_kind),
]


# A deny holds however something is asked, so a setting that seems to narrow one would be read wrongly.
_ONLY_OF_GIVING = frozenset(
    {
        "databases",
        "max_duration",
        "networks",
        "record_input",
        "record_traffic",
        "token_life",
        "reason_required",
        "min_reason_length",
    }
)


class Policy(Section):
    """A rule. A `deny` that matches wins over all others; else the first that matches, in the order of the file,
    decides; else the answer is no."""

    name: Name = setting("The policy's name: every decision says which one decided.", "live")
    who: tuple[Subject, ...] = setting('Whom it is for: `group:NAME`, `user:NAME`, or `"*"`.', "live", min_length=1)
    resources: tuple[Pattern, ...] = setting("Resources by name; `*` and `?` match as in file names.", "live", ())
    labels: Mapping[Name, Texts] = setting(
        "Resources by label: each key must have one of the values (`*` and `?` allowed). Given with `resources`, "
        "both must match.",
        "live",
        {},
    )
    accounts: tuple[Pattern, ...] = setting(
        "Accounts by name, with `*` and `?`. Required, except for `deny`, where leaving it out means all.",
        "live",
        (),
    )
    databases: tuple[Database, ...] = setting("Databases that may be opened; empty: any.", "live", ())
    max_duration: Duration | None = setting(
        "The longest grant it gives. Required, except for `deny`.", "live", None, gt=0, le=30 * 86400
    )
    networks: tuple[Network, ...] = setting(
        "Networks (CIDR) that requests and connections must come from; empty: any.", "live", ()
    )
    approval: Effect = setting(
        '`"automatic"`, `"deny"`, or how many of whom must agree: `{ count = 2, group = "approvers" }`.', "live"
    )
    record_rows: Count = setting(
        "Rows kept of each result, so that a replay shows what was seen; 0: only counts.",
        "live",
        0,
        ge=0,
        le=10_000,
    )
    record_bytes: Size = setting(
        "Bytes kept of each result, where `record_rows` is set.", "live", "64KiB", le=1 << 24
    )
    record_input: Flag = setting(
        "SSH: whether what is typed in a terminal is kept too, passwords included. What is shown there always is.",
        "live",
        False,
    )
    record_traffic: Flag = setting(
        "SSH and TCP: whether all bytes of commands without a terminal, of forwarded and of TCP connections are "
        "kept; else only how many they were, and their SHA-256.",
        "live",
        False,
    )
    token_life: Literal["short", "grant"] = setting(
        "`short`: tokens live for `tokens.life`; `grant`: as long as the grant, for pools and GUI clients that "
        "reconnect. `grant` needs `networks`, which make a copied token useless elsewhere.",
        "live",
        "short",
    )
    reason_required: Flag = setting("Whether a request must give a reason.", "live", True)
    min_reason_length: Count = setting(
        "The fewest characters of a reason, where one is required.", "live", 1, ge=1, le=500
    )

    @property
    def denies(self) -> bool:
        return self.approval == "deny"

    @model_validator(mode="after")
    def _says_enough(self) -> "Policy":
        if not self.resources and not self.labels:
            raise ValueError('needs `resources` or `labels` (all resources: resources = ["*"])')
        if not self.denies and not self.accounts:
            raise ValueError('needs `accounts` (all accounts: accounts = ["*"])')
        if not self.denies and self.max_duration is None:
            raise ValueError("needs `max_duration`")
        if self.denies and self.model_fields_set & _ONLY_OF_GIVING:
            raise ValueError(f"is a deny, which {', '.join(sorted(_ONLY_OF_GIVING))} do not narrow: leave them out")
        if self.token_life == "grant" and not self.networks:
            raise ValueError('has token_life = "grant" without `networks` that bind its tokens')
        if any(not values for values in self.labels.values()):
            raise ValueError("has a label without values, which nothing can match")
        return self
