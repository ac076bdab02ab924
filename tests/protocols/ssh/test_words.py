"""What a person is told over SSH fits SSH, and is the same wherever it is said."""

import pytest

from proxy.access.refusals import refused
from proxy.core.access import Refusal
from proxy.core.errors import Unreachable
from proxy.protocols.ssh import words


def test_a_reason_with_and_without_advice() -> None:
    assert words.refusal(Unreachable("gone", hint="wait", detail="10.1.2.3")) == "gone (wait)"
    assert words.refusal(Unreachable("gone"), "sess_1") == "gone [sess_1]"
    assert words.advised("your grant was revoked", "ask again") == "your grant was revoked (ask again)"


@pytest.mark.parametrize("why", [Refusal.TOKEN_CUT_SHORT, Refusal.TOKEN_EXPIRED, Refusal.BAD_TOKEN])
def test_advice_about_a_token_is_for_ssh(why: Refusal) -> None:
    told = words.refusal(refused(why, size=100))
    assert "PGPASSWORD" not in told
    assert ("certificate" in told) is (why is not Refusal.BAD_TOKEN)
