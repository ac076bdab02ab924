"""What hooks do where nobody listens: before somebody does, and once all is over. Used all over ``sessions``."""

from typing import Any


def nothing(*_: object) -> Any:
    """Nothing; as steps, none."""
    return ()


def always() -> bool:
    """Yes, where nobody asks."""
    return True


def never() -> bool:
    """No, once it is over."""
    return False


def raising(error: Exception) -> None:
    """Fail, where nobody looks after errors."""
    raise error
