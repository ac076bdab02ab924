"""SSH with stock clients: the certificate, the ssh_config that asks for it, and the gateway's authorities."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.client import Api, logged_in, part
from proxy.cli.commands.options import As, Json, screen_of
from proxy.cli.failures import USAGE, Failed

if TYPE_CHECKING:
    from proxy.cli.connect.ssh import Place

Resource = Annotated[str, typer.Argument(metavar="RESOURCE", help="The resource.")]


def ssh_certificate(context: typer.Context, resource: Resource, account: As = "", json: Json = False) -> None:
    """Have a certificate for your active grant ready for ssh. Says nothing; run by the lines of ssh-config.

    Exit code 3 when you have no active grant.
    """
    from proxy.cli.quick import ready_certificate

    ready_certificate(resource, account, screen_of(context).json)


def ssh_config(
    context: typer.Context,
    resources: Annotated[
        list[str] | None, typer.Argument(metavar="[RESOURCE...]", help="Only these; else all of SSH.")
    ] = None,
    account: As = "",
    json: Json = False,
) -> None:
    """Lines for ~/.ssh/config: plain ssh, scp, sftp, rsync, git and Ansible then go by your grants.

    TIDEGATE_API, TIDEGATE_CA and TIDEGATE_HOME go into them as they are now; TIDEGATE_SSH_HOST and
    TIDEGATE_SSH_PORT win over the address that the gateway says.
    """
    from proxy.cli.connect.ssh import Folder, command_line, snippet

    api, folder = logged_in(), Folder(os.environ)
    authorities = api.get("/v1/ssh/authorities")
    places = [
        place
        for resource in _resources(api, resources or [])
        for place in _places(api, resource, account, authorities["host_key_alias"])
    ]
    folder.public_key()
    folder.believe(authorities["known_hosts"])
    text = snippet(places, folder, command_line(os.environ, api, folder))
    # not through a Screen: what ssh reads must be as it is
    screen = screen_of(context)
    screen.show({"ssh_config": text}, lambda: typer.echo(text, nl=False))


def _resources(api: Api, names: list[str]) -> list[dict[str, Any]]:
    found = [api.get(f"/v1/resources/{part(name)}") for name in names] or api.get("/v1/resources")["items"]
    for each in found:
        if names and each["protocol"] != "ssh":
            raise Failed(f"{each['name']} is a {each['protocol']} resource, none of SSH", code=USAGE)
    return [each for each in found if each["protocol"] == "ssh"]


def _places(api: Api, resource: dict[str, Any], account: str, alias: str) -> "list[Place]":
    """One for each account, or for the one that is named."""
    names = [each["name"] for each in resource["accounts"] if account in ("", each["name"])]
    if not names:
        raise Failed(f"{resource['name']} has no account {account} for you", code=USAGE)
    return [_place(api, resource, name, alias) for name in names]


def _place(api: Api, resource: dict[str, Any], account: str, alias: str) -> "Place":
    from proxy.cli.connect.ssh import Place, reached

    hint = resource["connect"] or {"host": "", "port": 0}
    host, port = reached(os.environ, api, hint["host"], hint["port"])
    return Place(resource["name"], account, host, port, alias)


async def run_ssh(api: Api, resource: dict[str, Any], account: str, args: list[str]) -> int:
    """Stock ssh to a resource (as the API shows it), with a certificate that is ready; its exit code."""
    from proxy.cli.connect.clients import ssh
    from proxy.cli.connect.local import run_client
    from proxy.cli.connect.ssh import Folder, certify, plain_config
    from proxy.cli.home import write_private

    program, folder, name = ssh(os.environ), Folder(os.environ), resource["name"]
    made = certify(api, folder, name, account)
    authorities = api.get("/v1/ssh/authorities")
    folder.believe(authorities["known_hosts"])
    place = _place(api, resource, made["account"], authorities["host_key_alias"])
    file = folder.path / f"{name}.config"
    write_private(file, plain_config(place, made["certificate"], folder))
    return await run_client([str(program), "-F", str(file), name, *args], os.environ)


def authorities(
    context: typer.Context,
    targets: Annotated[
        bool, typer.Option("--targets", help="Only the lines for sshd's TrustedUserCAKeys, on the targets.")
    ] = False,
    hosts: Annotated[bool, typer.Option("--hosts", help="Only the lines for known_hosts, for clients.")] = False,
    json: Json = False,
) -> None:
    """The gateway's SSH authorities: what targets and clients are told to believe. Public."""
    answer = logged_in().get("/v1/ssh/authorities")
    screen = screen_of(context)

    def people() -> None:
        if not hosts:
            if not targets:
                screen.line("# sshd of the targets (a file named by TrustedUserCAKeys):")
            screen.line(answer["targets"])
            if answer["targets_next"]:
                screen.line(answer["targets_next"])
        if not targets:
            if not hosts:
                screen.line(f"# known_hosts of clients (with HostKeyAlias {answer['host_key_alias']}):")
            for line in answer["known_hosts"]:
                screen.line(line)

    if targets and hosts:
        raise Failed("--targets or --hosts, not both", hint="neither shows both", code=USAGE)
    screen.show(answer, people)


def rotate_targets(
    context: typer.Context,
    switch: Annotated[
        bool, typer.Option("--switch", help="Sign with it: every target believes the next authority by now.")
    ] = False,
    json: Json = False,
) -> None:
    """Make the next authority that SSH targets are to believe; with --switch, sign with it.

    In between, put both lines of `tidegate keys ssh --targets` into every target's TrustedUserCAKeys.
    """
    answer = logged_in().post("/v1/keys/targets", {"switch": switch})
    screen = screen_of(context)
    screen.show(answer, lambda: screen.line(answer["targets"] if switch else answer["targets_next"]))
    if switch:
        screen.note("this signs from now on: the line before it can go from the targets' TrustedUserCAKeys")
    else:
        screen.note("next: have every target believe this besides (tidegate keys ssh --targets), then --switch")
