"""Resources and requests: what one may ask for, asking, and saying yes or no."""

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from proxy.cli.client import Api, logged_in, part
from proxy.cli.commands.options import As, For, Json, Limit, Reason, checked_duration, screen_of
from proxy.cli.failures import DENIED, FAILED, USAGE, Failed
from proxy.cli.screen import Screen

POLL_EVERY = 1.0

Request = Annotated[str, typer.Argument(metavar="ID", help="The request.")]


def resources(context: typer.Context, json: Json = False) -> None:
    """What you may ask for, and under which rule."""
    found = list(logged_in().every("/v1/resources"))
    rows = [
        {
            "resource": each["name"],
            "protocol": each["protocol"],
            "account": account["name"],
            "how": " or ".join(_offered(offer) for offer in account["offers"]),
            "description": each["description"],
        }
        for each in found
        for account in each["accounts"]
    ]
    headings = {name: name.upper() for name in ("resource", "protocol", "account", "how", "description")}
    screen = screen_of(context)
    screen.show({"items": found}, lambda: screen.table(rows, headings, "there is nothing you may ask for"))


def request(
    context: typer.Context,
    resource: Annotated[str, typer.Argument(help="The resource.")] = "",
    account: As = "",
    duration: For = "",
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until people have decided.")] = False,
    extend: Annotated[str, typer.Option("--extend", metavar="GRANT", help="Move the end of this grant.")] = "",
    json: Json = False,
) -> None:
    """Ask for an account on a resource; prints the request, the decision and the grant.

    Exit code 3 when it is denied.
    """
    if not duration or (not extend and not (resource and account)):
        hint = "tidegate request RESOURCE --as ACCOUNT --for 30m --reason TEXT"
        raise Failed("a request needs a resource, --as and --for", hint=hint, code=USAGE)
    body = {"duration": checked_duration(duration), "reason": reason}
    if extend:
        ask(screen_of(context), f"/v1/grants/{part(extend)}/extend", body, wait=wait)
    else:
        ask(screen_of(context), "/v1/requests", {**body, "resource": resource, "account": account}, wait=wait)


def ask(screen: Screen, path: str, body: Mapping[str, Any], *, wait: bool) -> None:
    """Make a request and tell what came of it."""
    api = logged_in()
    made = api.post(path, body)
    if wait and made["request"]["status"] == "pending":
        made = _decided(api, screen, made["request"]["id"])
    screen.show(made, lambda: _tell(screen, made))
    if made["request"]["status"] not in ("approved", "pending"):
        raise typer.Exit(DENIED)


def _decided(api: Api, screen: Screen, id: str) -> dict[str, Any]:
    """Wait until people have decided; an interrupt leaves the request as it is."""
    request = api.get(f"/v1/requests/{part(id)}")
    decision = request["decision"]
    screen.note(f"waiting for {_needed(decision)}: {_yes(request)}")
    said = 0
    try:
        while request["status"] == "pending":
            time.sleep(POLL_EVERY)
            request = api.get(f"/v1/requests/{part(id)}")
            for approval in request["approvals"][said:]:
                screen.note(f"{approval['by']} said {'yes' if approval['approved'] else 'no'}")
            said = len(request["approvals"])
    except KeyboardInterrupt:
        raise Failed(f"request {id} is still pending", hint="see it with: tidegate requests", code=FAILED) from None
    grant = api.get(f"/v1/grants/{part(request['grant'])}") if request["grant"] else None
    return {"request": request, "grant": grant}


def _tell(screen: Screen, made: Mapping[str, Any]) -> None:
    request, grant = made["request"], made["grant"]
    said_no = [each for each in request["approvals"] if not each["approved"]]
    screen.facts(
        [
            ("request", request["id"]),
            ("status", request["status"]),
            ("decision", request["decision"]["reason"]),
            ("denied by", ", ".join(f"{each['by']}: {each['reason']}" for each in said_no)),
            ("grant", grant and grant["id"]),
            ("until", grant and grant["ends"]),
        ]
    )
    if request["status"] == "pending":
        screen.note(f"next: {_needed(request['decision'])}: {_yes(request)}")
    elif grant and sys.stdout.isatty():
        screen.note(f"next: tidegate connect {request['resource']}")


def _needed(decision: Mapping[str, Any]) -> str:
    count = decision["approvals"]
    return f"{count} approval{'' if count == 1 else 's'} by group {decision['approvers']}"


def _yes(request: Mapping[str, Any]) -> str:
    return f"tidegate approve {request['id']}"


def requests(
    context: typer.Context,
    status: Annotated[str, typer.Option("--status", help="Only pending, approved, denied …")] = "",
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Your requests, and those you may decide."""
    found = list(logged_in().every("/v1/requests", {"status": status}, most=limit))
    rows = [
        {**each, "to": f"{each['account']}@{each['resource']}", "for": _span(each["duration"])} for each in found
    ]
    headings = {
        "id": "REQUEST",
        "identity": "WHO",
        "to": "ACCOUNT",
        "for": "FOR",
        "status": "STATUS",
        "created": "ASKED",
        "reason": "REASON",
    }
    screen = screen_of(context)
    screen.show({"items": found}, lambda: screen.table(rows, headings, "there are no requests"))


def use(context: typer.Context, id: Request, json: Json = False) -> None:
    """What came of a request so far, in numbers: for its maker and for who decides it."""
    found = logged_in().get(f"/v1/requests/{part(id)}/use")
    screen = screen_of(context)
    screen.show(
        found,
        lambda: screen.facts(
            [
                ("grant", found["grant"] or "none"),
                ("sessions", f"{found['sessions']}, {found['live']} live"),
                ("statements", f"{found['statements']}, {found['failed']} failed"),
                ("bytes", f"{found['bytes_in']} sent, {found['bytes_out']} received"),
                ("time", _span(round(found["seconds"]))),
                ("first", found["first"]),
                ("last", found["last"]),
            ]
        ),
    )


def approve(context: typer.Context, id: Request, reason: Reason = "", json: Json = False) -> None:
    """Say yes to a request. Nobody approves their own.

    Exit code 3 when policy, which is asked again at every yes, denies it by now.
    """
    made = logged_in().post(f"/v1/requests/{part(id)}/approve", {"reason": reason})
    screen = screen_of(context)
    screen.show(made, lambda: _tell(screen, made))
    if made["request"]["status"] == "denied":
        raise typer.Exit(DENIED)


def deny(
    context: typer.Context,
    id: Request,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the asker reads it.")],
    json: Json = False,
) -> None:
    """Say no to a request; one no ends it."""
    request = logged_in().post(f"/v1/requests/{part(id)}/deny", {"reason": reason})
    screen = screen_of(context)
    screen.show(request, lambda: screen.line(f"request {id} is {request['status']}"))


def withdraw(context: typer.Context, id: Request, json: Json = False) -> None:
    """Take your own request back."""
    request = logged_in().post(f"/v1/requests/{part(id)}/withdraw")
    screen = screen_of(context)
    screen.show(request, lambda: screen.line(f"request {id} is {request['status']}"))


def _offered(offer: Mapping[str, Any]) -> str:
    how = _needed(offer) if offer["approvals"] else "at once"
    return f"{how}, up to {_span(offer['max_duration'])}"


def _span(seconds: float) -> str:
    from proxy.policy.words import spoken

    return spoken(seconds)
