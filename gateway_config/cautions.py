"""What is no mistake in a configuration and yet should be looked at. Pure; said by ``config check`` and at a
reload."""

from collections.abc import Iterator

from gateway_config.schema import Config


def cautions(config: Config) -> Iterator[str]:
    """Yield a line for each."""
    roles = {group.name: group.roles for group in config.groups}
    held = {role for user in config.users for group in user.groups for role in roles.get(group, ())}
    if "auditor" not in held and not (config.recordings.admins_read and "admin" in held):
        yield (
            "nobody is an auditor, so nobody can replay or watch what others did: give somebody a group with the "
            "role `auditor`, or let administrators read it with `admins_read = true` under [recordings]"
        )
