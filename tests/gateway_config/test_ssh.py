"""SSH resources: how a host is known, how its accounts are entered, and what their sessions may do."""

import subprocess

import pytest

from gateway_config.environment import FORBIDDEN
from gateway_config.loading import read
from gateway_config.problems import ConfigProblems
from gateway_config.ssh import SshAccount
from gateway_config.values import Address

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


def test_destinations_are_compared_in_lower_case(tmp_path):
    entered = f'{ENTERED}\nallow = []\nforward = ["DB.Internal:5432", "[0::1]:80"]'
    (account,) = resource(tmp_path, account=entered).accounts
    assert account.forward == (Address("db.internal", 5432), Address("::1", 80))


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("*", "no wildcards"),
        ("*:80", "no wildcards"),
        ("db-?:80", "no wildcards"),
        ("db:*", "no wildcards"),
        ("db:0", "from 1 to 65535"),
        ("db:65536", "should be"),
        ("db", "should be"),
        ("0.0.0.0:80", "every interface"),
        ("[::]:80", "every interface"),
    ],
)
def test_a_destination_is_one_host_and_port(tmp_path, destination, why):
    where, said = problem(tmp_path, account=f'{ENTERED}\nforward = ["ok:1", "{destination}"]')
    assert where == "resources[0].accounts[0].forward[1]"
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
