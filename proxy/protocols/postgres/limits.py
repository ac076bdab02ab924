"""How much of one conversation is taken in and kept. Pure values; given to the inspector by ``engine``."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, but for counts. ``max_message``: longest Query or Parse; ``max_bind``: longest Bind; ``hold_bind``:
    from here on a Bind is passed on as it comes; ``max_text``: longest statement text that is searched for secrets
    (a longer one that may hold some is refused, any other is kept whole); ``think_text``: from here on it is
    searched off the loop; ``max_value``: longest bind value kept
    whole; ``max_values``: of all values of one Bind; ``record_rows`` and ``record_bytes``: how much of each result
    is kept (both 0: nothing); ``max_statements``: a string of more is refused;
    ``max_names``: prepared statements or portals at a time; ``max_pending``: messages the target has not
    answered, and ``max_kept`` bytes held for them, from which on the client is not read."""

    max_message: int = 16 * MIB
    max_bind: int = 256 * MIB
    hold_bind: int = 4 * KIB
    max_text: int = 1 * MIB
    think_text: int = 8 * KIB
    brief_text: int = 512
    max_value: int = 4 * KIB
    max_values: int = 256 * KIB
    record_rows: int = 0
    record_bytes: int = 0
    max_statements: int = 10_000
    max_names: int = 20_000
    max_pending: int = 4096
    max_kept: int = 32 * MIB
