"""A file becomes a configuration, or a list of everything that is wrong with it, each with its place and line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_config.loading import load, read
from gateway_config.parts import MAX_FILE
from gateway_config.problems import ConfigProblems
from gateway_config.references import SecretReference
from tests.gateway_config.files import ENVIRON, HASH, MINIMAL, put, toml


def problems(text, **options):
    """What is wrong with ``text``, as {path: message}."""
    with pytest.raises(ConfigProblems) as raised:
        read(text, source="gateway.toml", base=options.pop("base"), environ=ENVIRON, **options)
    return {each.path: each.message for each in raised.value.problems}


def test_the_minimal_file(tmp_path):
    config = load(put(tmp_path / "gateway.toml", MINIMAL), environ=ENVIRON)
    assert config.users[0].password_hash == HASH
    assert config.resources[0].accounts[0].password == SecretReference("env", "SHOP")
    assert (config.resources[0].address[0].host, config.resources[0].address[0].port) == ("db.example.com", 5432)
    assert config.resources[0].tls_mode == "verify-full"
    assert config.base == tmp_path


def test_an_empty_file_is_all_defaults(tmp_path):
    config = load(put(tmp_path / "gateway.toml", ""))
    assert config.limits.startup_timeout == 10
    assert config.limits.idle is None
    assert config.limits.max_message == 16 << 20
    assert config.tokens.life == 600
    assert config.tokens.leeway <= 10
    assert config.store.lease == 10
    assert config.store.poll_interval == 1
    assert config.recordings.max_value == 4096
    assert str(config.api.listen) == "127.0.0.1:8443"
    assert config.store_url == f"sqlite:///{tmp_path}/state/tidegate.db"
    assert config.keys_dir == tmp_path / "state" / "keys"
    assert config.recordings_dir == tmp_path / "state" / "recordings"


def test_everything_wrong_is_said_at_once_with_its_line(tmp_path):
    text = toml(
        """
        [gateway]
        workers = "2"
        nodes = "a"

        [[users]]
        groups = "engineers"

        [[resources]]
        name = "shop"
        protocol = "postgres"
        address = "db"
        [[resources.accounts]]
        name = "readonly"
        pasword = "hunter2"

        [[resources]]
        name = "other"
        protocol = "postgres"
        address = ["db:1", "db:x"]
        [[resources.accounts]]
        name = "owner"
        password = "hunter2"

        [[resources]]
        name = "third"
        protocol = "sssh"
        address = "host"
        host_keys = [1]
        """
    )
    with pytest.raises(ConfigProblems) as raised:
        load(put(tmp_path / "gateway.toml", text))
    lines = str(raised.value).replace(f"{tmp_path}/", "").splitlines()
    assert [line.split(": ", 2)[:2] for line in lines] == [
        ["gateway.toml:2", "gateway.workers"],
        ["gateway.toml:3", "gateway.nodes"],
        ["gateway.toml:5", "users[0].name"],
        ["gateway.toml:6", "users[0].groups"],
        ["gateway.toml:11", "resources[0].address[0]"],
        ["gateway.toml:14", "resources[0].accounts[0].pasword"],
        ["gateway.toml:19", "resources[1].address[1]"],
        ["gateway.toml:22", "resources[1].accounts[0].password"],
        ["gateway.toml:26", "resources[2].protocol"],
        ["gateway.toml:27", "resources[2].address[0]"],
    ]
    assert 'did you mean "node"?' in lines[1]
    assert lines[2].endswith("is required")
    assert lines[3].endswith("should be a list")
    assert 'did you mean "password"?' in lines[5]
    assert 'write "env:NAME"' in lines[7]
    assert lines[8].endswith('should be one of "postgres", "ssh", "tcp"; did you mean "ssh"?')


def test_no_message_repeats_a_secret_and_neither_does_the_traceback(tmp_path):
    text = MINIMAL.replace("env:SHOP", "hunter2").replace(HASH, "hunter2")
    with pytest.raises(ConfigProblems) as raised:
        read(text + '[store]\nurl = "postgresql://a:hunter2@b/c"\n', source="x", base=tmp_path)
    error = raised.value
    assert len(error.problems) == 3
    assert error.__cause__ is None
    assert "hunter2" not in f"{error}{error!r}{error.__context__}{error.__context__!r}"


def test_a_configuration_prints_no_hash(tmp_path):
    config = read(MINIMAL, source="x", base=tmp_path, environ=ENVIRON)
    assert "argon2" not in f"{config!r}{config}"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a = 1\nb = \n", 2, "Invalid value"),
        ("a = 1\n[b\n", 2, "is not TOML"),
        ('a = """\n\n', 3, "is not TOML"),
        ("a = 1\na = 2", 2, "Cannot overwrite"),
        ("a = " + "[" * 100_000, None, "nested too deeply"),
    ],
)
def test_text_that_is_not_toml(tmp_path, text, line, why):
    with pytest.raises(ConfigProblems) as raised:
        read(text, source="gateway.toml", base=tmp_path)
    (problem,) = raised.value.problems
    assert (problem.line, problem.path) == (line, "")
    assert why in problem.message


def test_files_that_cannot_be_read(tmp_path):
    for file, why in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "directory"),
        (put(tmp_path / "latin.toml", b"a = 1\nb = '\xe4'"), "latin.toml:2: is not UTF-8"),
        (put(tmp_path / "large.toml", b"#" * (MAX_FILE + 1)), "larger than"),
    ):
        with pytest.raises(ConfigProblems, match=why):
            load(file)


def test_wrong_shapes(tmp_path):
    assert problems("gateway = 1", base=tmp_path) == {"gateway": "should be a table"}
    assert problems("users = 1", base=tmp_path) == {"users": "should be a list"}
    assert problems("users = [1]", base=tmp_path) == {"users[0]": "should be a table"}
    assert "users" in problems("[users]\nname = 'a'", base=tmp_path)
    assert problems("resources = 1", base=tmp_path) == {"resources": "should be a list"}
    assert problems("resources = [1]", base=tmp_path) == {"resources[0]": "should be a table"}
    nameless = "[[resources]]\nname = 'a'\naddress = 'h:1'\n"
    for wrong in ("[]", "{}", "1"):
        assert list(problems(f"{nameless}protocol = {wrong}", base=tmp_path)) == ["resources[0].protocol"]
    assert problems(nameless, base=tmp_path) == {"resources[0].protocol": "is required"}


def test_nothing_is_coerced(tmp_path):
    text = "[gateway]\nworkers = true\n[api]\nenabled = 1\n[limits]\npending = 2.0\n[tokens]\nissuer = 5\n"
    assert set(problems(text, base=tmp_path)) == {
        "gateway.workers",
        "api.enabled",
        "limits.pending",
        "tokens.issuer",
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[tokens]\nleeway = '11s'", "tokens.leeway"),
        ("[tokens]\nlife = '2h'", "tokens.life"),
        ("[tokens]\nlife = 0", "tokens.life"),
        ("[limits]\nidle = 0", "limits.idle"),
        ("[limits]\npending = 4", "limits"),
        ("[gateway]\nworkers = 0", "gateway.workers"),
        ("[gateway]\nnode = 'A b'", "gateway.node"),
        ("[store]\nurl = 'mysql://a/b'", "store.url"),
        ("[store]\nurl = 'sqlite:///'", "store.url"),
        ("[store]\nurl = 'postgresql://u@h/'", "store.url"),
        ("[store]\nurl = 'postgresql://u@h/d?password=x'", "store.url"),
        ("[store]\nurl = 'postgresql://u@h:port/d'", "store.url"),
        ("[store]\nurl = 'postgresql://[u@h/d'", "store.url"),
        ("[api]\nlisten = '0.0.0.0:8443'", "api"),
    ],
)
def test_bounds_of_the_gateways_own_sections(tmp_path, text, path):
    assert list(problems(text, base=tmp_path)) == [path]


def listener(body):
    return f'[[listeners]]\nname = "pg"\nprotocol = "postgres"\n{body}\n'


def test_tokens_never_cross_a_network_in_the_clear(tmp_path):
    assert "needs `tls`" in problems(listener('address = "127.0.0.1:1"'), base=tmp_path)["listeners[0]"]
    clear = 'require_tls = false\naddress = "10.0.0.1:1"'
    assert "in the clear" in problems(listener(clear), base=tmp_path)["listeners[0]"]
    for fine in (
        'require_tls = false\naddress = "127.0.0.1:1"',
        clear + '\nproxy_protocol_from = ["10.0.0.9"]',
    ):
        assert read(listener(fine), source="x", base=tmp_path).listeners[0].tls is None


RESOURCE = '[[resources]]\nname = "r"\nprotocol = "postgres"\n'
ACCOUNT = '[[resources.accounts]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (f'{RESOURCE}address = "h:1"\n', "resources[0].accounts", "is required"),
        (f'{RESOURCE}address = []\n{ACCOUNT}password = "env:SHOP"', "resources[0].address", "at least one"),
        (f'{RESOURCE}address = "h:0"\n{ACCOUNT}password = "env:SHOP"', "resources[0]", "port 0"),
        (f'{RESOURCE}address = "h:1"\n{ACCOUNT}', "resources[0]", "neither"),
        (f'{RESOURCE}address = "h:1"\n{ACCOUNT}client_key = "k"', "resources[0].accounts[0]", "or neither"),
        (
            f'{RESOURCE}address = "h:1"\nclient_key = "k"\n{ACCOUNT}password = "env:SHOP"',
            "resources[0]",
            "or neither",
        ),
        (
            f'{RESOURCE}address = "h:1"\ntls_mode = "disable"\ntls_ca = "x"\n{ACCOUNT}password = "env:SHOP"',
            "resources[0]",
            'tls_mode = "disable"',
        ),
        (
            f'{RESOURCE}address = "h:1"\ntls_mode = "prefer"\n{ACCOUNT}password = "env:SHOP"',
            "resources[0].tls_mode",
            "",
        ),
        (f'{RESOURCE}address = "h:1"\nlabels = {{ "a b" = "c" }}\n{ACCOUNT}password = "env:SHOP"', None, "a name"),
    ],
)
def test_wrong_resources(tmp_path, text, path, why):
    ((where, message),) = problems(text, base=tmp_path).items()
    assert where == path or path is None
    assert why in message


def policy(body):
    return f'{MINIMAL}\n[[policies]]\nname = "p"\n{body}\n'


FULL = {
    "who": '["user:alice"]',
    "resources": '["shop"]',
    "accounts": '["readonly"]',
    "max_duration": '"1h"',
    "approval": '"automatic"',
}


def body(**changed):
    return "\n".join(f"{key} = {value}" for key, value in {**FULL, **changed}.items() if value)


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        ({"who": ""}, "policies[0].who", "is required"),
        ({"who": "[]"}, "policies[0].who", "at least one"),
        ({"who": '["alice"]'}, "policies[0].who[0]", 'should be "group:NAME"'),
        ({"who": '["role:x"]'}, "policies[0].who[0]", 'should be "group:NAME"'),
        ({"resources": ""}, "policies[0]", "needs `resources` or `labels`"),
        ({"accounts": ""}, "policies[0]", "needs `accounts`"),
        ({"max_duration": ""}, "policies[0]", "needs `max_duration`"),
        ({"max_duration": "0"}, "policies[0].max_duration", "greater than 0"),
        ({"max_duration": '"31d"'}, "policies[0].max_duration", "less than"),
        ({"approval": ""}, "policies[0].approval", "is required"),
        ({"approval": '"maybe"'}, "policies[0].approval", "'automatic' or 'deny'"),
        ({"approval": '{ count = 0, group = "g" }'}, "policies[0].approval.count", "greater than"),
        ({"approval": "{ count = 1 }"}, "policies[0].approval.group", "is required"),
        ({"approval": '{ group = "g", cuont = 1 }'}, "policies[0].approval.cuont", 'did you mean "count"'),
        ({"approval": "5"}, "policies[0].approval", "should be a table"),
        ({"databases": '["*"]'}, "policies[0].databases[0]", "leave `databases` out"),
        ({"networks": '["10.0.0.1/8"]'}, "policies[0].networks[0]", "host bits"),
        ({"labels": "{ env = [] }"}, "policies[0]", "label without values"),
        ({"approval": '"deny"'}, "policies[0]", "is a deny, which"),
        ({"token_life": '"grant"'}, "policies[0]", "without `networks`"),
        (
            {"approval": '"deny"', "max_duration": "", "record_input": "false"},
            "policies[0]",
            "record_input, record_traffic",
        ),
        ({"record_traffic": '"yes"'}, "policies[0].record_traffic", "should be a valid boolean"),
    ],
)
def test_wrong_policies(tmp_path, changes, path, why):
    ((where, message),) = problems(policy(body(**changes)), base=tmp_path).items()
    assert where == path
    assert why in message


def test_a_deny_needs_no_more_than_whom_and_what(tmp_path):
    text = policy(body(approval='"deny"', accounts="", max_duration=""))
    (found,) = read(text, source="x", base=tmp_path, environ=ENVIRON).policies
    assert found.denies


def test_a_label_may_have_one_value_or_several(tmp_path):
    text = policy(body(labels='{ env = "prod", team = ["a", "b"] }'))
    (found,) = read(text, source="x", base=tmp_path, environ=ENVIRON).policies
    assert found.labels == {"env": ("prod",), "team": ("a", "b")}


def test_relative_paths_are_of_the_files_folder(tmp_path):
    text = '[gateway]\nstate_dir = "var"\n[store]\nurl = "sqlite:///db/x.db"\n[tokens]\nkeys_dir = "/abs/keys"\n'
    config = read(text, source="x", base=tmp_path)
    assert config.state_dir == tmp_path / "var"
    assert config.store_url == f"sqlite:///{tmp_path}/db/x.db"
    assert str(config.keys_dir) == "/abs/keys"
    absolute = read('[store]\nurl = "sqlite:////srv/x.db"\n', source="x", base=tmp_path)
    assert absolute.store_url == "sqlite:////srv/x.db"


@settings(max_examples=200)
@given(st.text(alphabet="[]{}=\"\n abcusers.name1#'\\,", max_size=80))
def test_any_text_gives_a_configuration_or_problems(text):
    try:
        read(text, source="x", base=Path("/nowhere"))
    except ConfigProblems as error:
        assert error.problems
