"""What the peers of the contract that keep their own count have in common; see ``engines``."""

import asyncio
from collections.abc import Mapping
from typing import Any


class CountingPeer:
    """A target that logs people in, over a protocol with words for an end, unless a peer says otherwise."""

    logs_in = True
    has_words = True
    conditions: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.dialled = 0
        self.open = 0
        self.ran: list[str] = []
        self.stopped = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()
