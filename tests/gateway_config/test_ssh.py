"""SSH resources: how a host is known, how its accounts are entered, and what their sessions may do."""

import subprocess

import pytest

from gateway_config.destinations import Destination
from gateway_config.environment import FORBIDDEN
from gateway_config.loading import read
from gateway_config.problems import ConfigProblems
from gateway_config.ssh import SshAccount

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKQTVU3RtdhfPUHK+SBqa2Bw9HWP2vQRSOUGzonL6Prg"
KNOWN = f'host_keys = ["{KEY}"]'
ENTERED = 'password = "env:BOX"'


def text(known=KNOWN, account=ENTERED, name="ops"):
    return (
        f'[[resources]]\nname = "box"\nprotocol = "ssh"\naddress = "h:22"\n{known}\n'
        f'[[resources.accounts]]\nname = "{name}"\n{account}\n'
    )


def resource(folder, **parts):
    (found,) = read(text(**parts), source="x", base=folder, with_surroundings=False).resources
    return found


def problem(folder, **parts):
    """The one thing that is wrong, as (path, message)."""
    with pytest.raises(ConfigProblems) as raised:
        read(text(**parts), source="x", base=folder, with_surroundings=False)
    ((found),) = raised.value.problems
    assert found.line is not None
    return found.path, found.message


def test_what_is_left_out_is_careful(tmp_path):
    found = resource(tmp_path)
    assert (found.trust_first_use, found.host_authorities) == (False, ())
    assert (found.max_sessions, found.max_forwards) == (10, 256)
    (account,) = found.accounts
    assert isinstance(account, SshAccount)
    assert (account.allow, account.forward) == (("shell", "exec", "transfer"), ())
    assert account.environment == ("LANG", "LC_*", "TERM", "COLORTERM")


@pytest.mark.parametrize(
    "known",
    [
        f'host_authorities = ["{KEY} a comment"]',
        f'{KNOWN}\nhost_authorities = ["{KEY}"]',
        "trust_first_use = true",
    ],
)
def test_a_host_is_known_by_one_thing_at_least(tmp_path, known):
    resource(tmp_path, known=known)


def test_a_host_that_nothing_tells_apart(tmp_path):
    for known in ("", "trust_first_use = false", "host_keys = []"):
        where, said = problem(tmp_path, known=known)
        assert where == "resources[0]"
        assert "needs `host_keys` or `host_authorities`" in said
    _, said = problem(tmp_path, known=f"{KNOWN}\ntrust_first_use = true")
    assert "leave one of them out" in said


@pytest.mark.parametrize(
    "entered", ['key = "k"', "certificate = true", 'certificate = true\nprincipal = "root"', ENTERED]
)
def test_an_account_is_entered_in_one_way(tmp_path, entered):
    resource(tmp_path, account=entered)


@pytest.mark.parametrize(
    ("entered", "why"),
    [
        ("", "exactly one of"),
        ("certificate = false", "exactly one of"),
        (f'{ENTERED}\nkey = "k"', "exactly one of"),
        (f"{ENTERED}\ncertificate = true", "exactly one of"),
        (f'{ENTERED}\nprincipal = "root"', "only for `certificate = true`"),
        (f"{ENTERED}\nallow = []", "may do nothing"),
    ],
)
def test_an_account_that_cannot_be_served(tmp_path, entered, why):
    where, said = problem(tmp_path, account=entered)
    assert where == "resources[0].accounts[0]"
    assert why in said


@pytest.mark.parametrize("name", ["a:b", "a b", "a,b", "a'b", "-oProxyCommand=x", "", "x" * 64, "a\\tb"])
def test_a_name_that_no_user_has(tmp_path, name):
    assert problem(tmp_path, name=name)[0] == "resources[0].accounts[0].name"
    assert problem(tmp_path, account=f'certificate = true\nprincipal = "{name}"')[0].endswith(".principal")


def test_names_of_directories(tmp_path):
    for name in ("DOMAIN\\\\ops", "ops@example.com", "_apt", "www-data"):
        resource(tmp_path, name=name)


def test_what_is_allowed_is_words(tmp_path):
    (account,) = resource(tmp_path, account=f'{ENTERED}\nallow = ["exec"]').accounts
    assert account.allow == ("exec",)
    where, said = problem(tmp_path, account=f'{ENTERED}\nallow = ["exec", "forward"]')
    assert where == "resources[0].accounts[0].allow[1]"
    assert "'shell', 'exec' or 'transfer'" in said


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("DB.Internal:5432", Destination("db.internal", 5432, 5432)),
        ("[0::1]:80", Destination("::1", 80, 80)),
        ("127.0.0.1:1024-65535", Destination("127.0.0.1", 1024, 65535)),
        ("[::1]:8000-8000", Destination("::1", 8000, 8000)),
        ("localhost:*", Destination("localhost", 1, 65535)),
        ("[::1]:*", Destination("::1", 1, 65535)),
        ("unix:/run/x.sock", Destination("", 0, 0, "/run/x.sock")),
        ("unix:/run/a b/ü:1.sock", Destination("", 0, 0, "/run/a b/ü:1.sock")),
    ],
)
def test_destinations(tmp_path, written, meant):
    (account,) = resource(tmp_path, account=f'{ENTERED}\nallow = []\nforward = ["{written}"]').accounts
    assert account.forward == (meant,)
    assert Destination.parse(str(meant)) == meant


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("*", "should be"),
        ("*:80", "no wildcards for hosts"),
        ("*:*", "no wildcards for hosts"),
        ("db-?:80", "no wildcards for hosts"),
        ("db:0", "from 1 to 65535"),
        ("db:65536", "from 1 to 65535"),
        ("db:1-65536", "from 1 to 65535"),
        ("db:0-80", "from 1 to 65535"),
        ("db:443-80", "begins with the lower port: 80-443"),
        ("db:80-", "a range of them"),
        ("db:80,81", "a range of them"),
        ("db:8*", "a range of them"),
        ("db:ssh", "a range of them"),
        ("db", "should be"),
        ("::1:80", "IPv6 in brackets"),
        ("[::g]:80", "IPv6 address"),
        ("0.0.0.0:*", "every interface"),
        ("/run/x.sock", 'should be "unix:/run/x.sock"'),
        ("unix:run/x.sock", "whole path"),
        ("unix:", "whole path"),
        ("unix:/run/*.sock", "no wildcards"),
        ("unix:/run/../x", "without //"),
        ("unix:/run//x", "without //"),
        ("unix:/run/", "without //"),
        ("unix:/", "without //"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("0.0.0.0:80", "every interface"),
        ("[::]:80", "every interface"),
    ],
)
def test_what_is_no_destination(tmp_path, destination, why):
    where, said = problem(tmp_path, account=f'{ENTERED}\nforward = ["ok:1", "{destination}"]')
    assert where == "resources[0].accounts[0].forward[1]"
    assert why in said


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("max_sessions = 0", "1"),
        ("max_forwards = 0", "1"),
        ("max_forwards = 5000", "4096"),
        ('max_sessions = "x"', ""),
    ],
)
def test_limits_have_bounds(tmp_path, limit, why):
    where, said = problem(tmp_path, known=f"{KNOWN}\n{limit}")
    assert where == f"resources[0].{limit.split()[0]}"
    assert why in said


def environment(*patterns):
    return f"{ENTERED}\nenvironment = {list(patterns)}"


def test_variables_that_say_how_to_show_things(tmp_path):
    found = resource(tmp_path, account=environment("LANG*", "LC_*", "TZ", "DEPLOY_*", "http_proxy", "COLUMNS"))
    assert len(found.accounts[0].environment) == 6
    assert resource(tmp_path, account=environment()).accounts[0].environment == ()


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "LD_PRELOAD",
            "LD_*",
            "L*",
            "LD*",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
            "PA*",
            "BASH_ENV",
            "BASH*",
            "ENV",
            "E*",
        ),
        *("IFS", "PYTHONPATH", "PYTHONSTARTUP", "PERL5OPT", "PERL*", "NODE_OPTIONS", "GIT_SSH_COMMAND", "G*"),
        *(
            "BASH_FUNC_x",
            "PS4",
            "PROMPT_COMMAND",
            "ld_preload",
            "Path",
            "TERM*",
            "TERMINFO",
            "HOME",
            "SSH_AUTH_SOCK",
        ),
    ],
)
def test_variables_that_run_code_on_the_host(tmp_path, pattern):
    where, said = problem(tmp_path, account=environment("LANG", pattern))
    assert where == "resources[0].accounts[0].environment[1]"
    assert "make programs on the host run its own code" in said


@pytest.mark.parametrize("forbidden", FORBIDDEN)
def test_each_of_them_is_refused_by_name_and_by_its_beginning(tmp_path, forbidden):
    for pattern in (forbidden, forbidden.replace("*", "") + "*", forbidden[0] + "*"):
        assert "run its own code" in problem(tmp_path, account=environment(pattern))[1]


def test_no_pattern_is_for_all_variables(tmp_path):
    assert 'should name variables: "*"' in problem(tmp_path, account=environment("*"))[1]
    for pattern in ("**", "*X", "L?NG", "L[A]NG", "A=B", "", "1A", "LANG\\n"):
        assert "should be a variable's name" in problem(tmp_path, account=environment(pattern))[1], pattern


@pytest.mark.parametrize(
    ("line", "path", "message"),
    [
        ('tls_mode = "disable"', "resources[0].tls_mode", "is a setting of postgres resources, not of ssh ones"),
        ("control = { user = 'a' }", "resources[0].control", "is a setting of postgres resources, not of ssh ones"),
        ("host_key = []", "resources[0].host_key", 'is no setting; did you mean "host_keys"?'),
    ],
)
def test_a_setting_that_is_not_of_hosts(tmp_path, line, path, message):
    assert problem(tmp_path, known=f"{KNOWN}\n{line}") == (path, message)


def test_a_setting_that_is_not_of_their_accounts(tmp_path):
    where, said = problem(tmp_path, account=f'{ENTERED}\ndatabases = ["a"]')
    assert (where, said) == (
        "resources[0].accounts[0].databases",
        "is a setting of postgres resources, not of ssh ones",
    )
    assert 'did you mean "principal"?' in problem(tmp_path, account=f'{ENTERED}\nprinciple = "a"')[1]


def test_a_database_has_no_host_keys(tmp_path):
    written = text(known=f'{KNOWN}\nclient_certificate = "x"').replace('"ssh"', '"postgres"')
    with pytest.raises(ConfigProblems) as raised:
        read(written, source="x", base=tmp_path, with_surroundings=False)
    assert {each.path: each.message for each in raised.value.problems} == {
        "resources[0].host_keys": "is a setting of ssh resources, not of postgres ones"
    }


def test_a_tcp_service_has_one_account(tmp_path):
    service = '[[resources]]\nname = "echo"\nprotocol = "tcp"\naddress = "h:7"\n'
    for accounts in ("", 'accounts = [{ name = "any" }]\n'):
        (found,) = read(service + accounts, source="x", base=tmp_path).resources
        assert [each.name for each in found.accounts] == ["any"]
    for accounts, path in (
        ("accounts = []", "resources[0].accounts"),
        ('accounts = [{ name = "any" }, { name = "any" }]', "resources[0].accounts"),
        ('accounts = [{ name = "root" }]', "resources[0].accounts[0].name"),
        ('accounts = [{ name = "any", password = "env:A" }]', "resources[0].accounts[0].password"),
        ("trust_first_use = true", "resources[0].trust_first_use"),
    ):
        with pytest.raises(ConfigProblems) as raised:
            read(service + accounts, source="x", base=tmp_path)
        assert [each.path for each in raised.value.problems] == [path]
    assert raised.value.problems[0].message == "is a setting of ssh resources, not of tcp ones"


@pytest.mark.parametrize(
    ("kind", "bits"), [("ed25519", 256), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048)]
)
def test_keys_as_openssh_makes_them(tmp_path, kind, bits):
    file = tmp_path / "key"
    arguments = ["-q", "-t", kind, "-b", str(bits), "-N", "", "-C", "a comment"]
    subprocess.run(["ssh-keygen", *arguments, "-f", file], check=True, timeout=60)
    line = file.with_suffix(".pub").read_text().strip()
    found = resource(tmp_path, known=f'host_keys = ["{line}"]')
    assert found.host_keys == (line.removesuffix(" a comment"),)
