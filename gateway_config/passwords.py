"""People's passwords as Argon2id hashes: making one, and checking that what the file holds is one.

Verifying a log-in is not done here but behind the ``Passwords`` port, off the loop. RFC 9106; the floor is the
least memory that OWASP's password storage cheat sheet lists.
"""

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError

_MEMORY_KIB = 64 * 1024
_FLOOR_KIB = 7 * 1024
# A log-in costs this much memory: a mistyped hash must not take the machine down.
_CEILING_KIB = 1024 * 1024


def hash_password(text: str) -> str:
    """The Argon2id hash (PHC string; 64 MiB, 3 passes, 4 lanes, random salt) to put into ``password_hash``."""
    if not text:
        raise ValueError("a password cannot be empty")
    return PasswordHasher(time_cost=3, memory_cost=_MEMORY_KIB, parallelism=4, type=Type.ID).hash(text)


def check_hash(text: str) -> str:
    """``text`` if it is a usable Argon2id hash; else ValueError that does not repeat it (it may be a password)."""
    try:
        parameters = extract_parameters(text)
    except InvalidHashError:
        raise ValueError(
            "should be an Argon2id hash ($argon2id$v=19$…), not the password: make one with "
            "`python -m gateway_config.passwords`"
        ) from None
    if parameters.type is not Type.ID:
        raise ValueError("should be an Argon2id hash; this is another kind of Argon2")
    if not _FLOOR_KIB <= parameters.memory_cost <= _CEILING_KIB or parameters.time_cost > 64:
        raise ValueError(f"should use between {_FLOOR_KIB} and {_CEILING_KIB} KiB of memory and at most 64 passes")
    return text


def main() -> None:
    """Ask for a password twice, without showing it, and print its hash."""
    from getpass import getpass

    first = getpass("Password: ")
    if first != getpass("Again: "):
        raise SystemExit("The two differ.")
    print(hash_password(first))


if __name__ == "__main__":
    main()
