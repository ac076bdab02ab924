"""Long work for the process of ``sessions.workshop``, which knows it by its name."""

import os
import time
from pathlib import Path


def until_there(path: str, data: bytes) -> int:
    """Take until a file is there."""
    while not Path(path).exists():
        time.sleep(0.01)
    return len(data)


def fails(data: bytes) -> None:
    """Say something of ``data`` that nobody must see."""
    raise ValueError(data)


def dies(data: bytes) -> None:
    """End the whole process."""
    os._exit(3)


def reverses(data: bytes) -> bytes:
    """Something short."""
    return data[::-1]


def pid(data: bytes) -> int:
    """Who does this."""
    return os.getpid()
