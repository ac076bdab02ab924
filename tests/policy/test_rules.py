"""A rule that could not be carried out is not made."""

from typing import Any

import pytest

from proxy.core.access import Outcome
from proxy.policy.rules import Rule


def test_a_rule_without_an_effect_denies() -> None:
    assert Rule("r").effect is Outcome.DENY
    assert not Rule("r").gives


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "needs a name"),
        ({"subjects": ("alice",)}, "subject"),
        ({"subjects": ("group:",)}, "subject"),
        ({"subjects": ("role:x",)}, "subject"),
        ({"effect": Outcome.ALLOW}, "maximum duration"),
        ({"effect": Outcome.ALLOW, "max_duration": float("nan")}, "maximum duration"),
        ({"effect": Outcome.NEEDS_APPROVAL, "max_duration": 1.0}, "approvers"),
        ({"effect": Outcome.NEEDS_APPROVAL, "max_duration": 1.0, "approvals": 1}, "approvers"),
        ({"effect": Outcome.NEEDS_APPROVAL, "max_duration": 1.0, "approvers": "dba"}, "approvers"),
        ({"effect": Outcome.ALLOW, "max_duration": 1.0, "approvals": 1}, "no approvals"),
        ({"networks": ("10.0.0.1/8",)}, "host bits"),
    ],
)
def test_a_rule_that_cannot_be_carried_out_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Rule(**({"name": "r"} | changes))
