"""The configuration as one value: frozen, with a digest that nodes agree on and a JSON Schema."""

import json
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway_config.loading import read
from gateway_config.schema import Config, digest, schema
from gateway_config.settings import Section, default_of, reload_of, sections_in, setting
from gateway_config.values import PROTOCOLS
from tests.gateway_config.files import EXAMPLES, MINIMAL


def config(text, base="/etc/tidegate"):
    return read(text, source="x", base=Path(base), with_surroundings=False)


def sections(section=Config):
    yield section
    for field in section.model_fields.values():
        for found in sections_in(field.annotation):
            yield from sections(found)


def test_it_is_frozen():
    with pytest.raises(ValidationError):
        config(MINIMAL).tokens.life = 5


def test_every_setting_says_what_it_is_and_when_a_change_takes_effect():
    for section in sections():
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            assert isinstance(field.json_schema_extra, dict), f"{section.__name__}.{name}"
            assert field.json_schema_extra["reload"] == reload_of(field)


def test_all_sections_refuse_what_they_do_not_know():
    found = list(sections())
    assert len(found) > 16
    for section in found:
        assert issubclass(section, Section)
        assert (section.model_config["extra"], section.model_config["frozen"]) == ("forbid", True)


def test_the_digest_is_of_what_the_file_means():
    assert digest(config(MINIMAL)) == digest(config("# comment\n" + MINIMAL + '\n[tokens]\nlife = "600s"\n'))
    assert len(digest(config(""))) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("readonly", "owner"),
        ("env:SHOP", "env:OTHER"),
        ("m=65536", "m=65537"),
        ("[[users]]", "[tokens]\nlife=60\n[[users]]"),
    ],
)
def test_the_digest_changes_with_what_nodes_must_agree_on(old, new):
    assert digest(config(MINIMAL)) != digest(config(MINIMAL.replace(old, new)))


@pytest.mark.parametrize(
    "own",
    [
        '[gateway]\nnode = "a"\nstate_dir = "/x"\nworkers = 9\nlog_level = "debug"\n',
        '[api]\nlisten = "127.0.0.1:1"\nenabled = false\n',
        '[recordings]\ndir = "/x"\nmin_free = 1\n',
        '[store]\nurl = "postgresql://u@h/d"\npassword = "env:X"\n',
    ],
)
def test_nodes_may_differ_in_what_is_their_own(own):
    assert digest(config(MINIMAL)) == digest(config(MINIMAL + own, base="/srv"))


def test_a_listeners_address_is_the_nodes_own_and_its_protocol_is_not():
    text = '[[listeners]]\nname = "n"\nprotocol = "postgres"\naddress = "127.0.0.1:1"\nrequire_tls = false\n'
    assert digest(config(text)) == digest(config(text.replace("0.1:1", "0.1:2")))
    assert digest(config(text)) != digest(config(text.replace('"n"', '"m"')))


def test_the_json_schema():
    found = schema()
    json.dumps(found)
    assert found["$schema"].endswith("2020-12/schema")
    assert found["additionalProperties"] is False
    limits = found["$defs"]["Limits"]["properties"]
    assert limits["idle"]["reload"] == "new_sessions"
    assert {each["type"] for each in limits["write_stall"]["anyOf"]} == {"string", "number"}
    assert found["$defs"]["PostgresAccount"]["properties"]["password"]["anyOf"][0] == {"type": "string"}
    assert "required" in found["$defs"]["PostgresResource"]
    assert {"string", "array"} == {
        each["type"] for each in found["$defs"]["PostgresResource"]["properties"]["address"]["anyOf"]
    }


def test_the_json_schema_has_a_shape_of_resource_for_each_protocol():
    found = schema()
    shapes = [each["$ref"].rpartition("/")[2] for each in found["properties"]["resources"]["items"]["oneOf"]]
    assert [found["$defs"][each]["properties"]["protocol"]["const"] for each in shapes] == list(PROTOCOLS)
    assert all({"name", "protocol", "address"} <= set(found["$defs"][each]["required"]) for each in shapes)
    assert set(found["$defs"]) >= {"PostgresAccount", "SshAccount", "TcpAccount"}
    assert found["$defs"]["Listener"]["properties"]["protocol"]["enum"] == list(PROTOCOLS)
    assert found["$defs"]["SshAccount"]["properties"]["forward"]["items"] == {"type": "string"}


def inside(value):
    """The section and all that it holds."""
    if isinstance(value, Section):
        yield value
    members = value if isinstance(value, tuple) else vars(value).values() if isinstance(value, Section) else ()
    for each in members:
        yield from inside(each)


def test_what_nobody_set_is_at_its_default():
    """Or it would count as set, and be part of the digest."""
    seen = 0
    for file in EXAMPLES:
        for section in inside(read(file.read_text(), source="x", base=file.parent, with_surroundings=False)):
            for name in set(type(section).model_fields) - section.model_fields_set:
                assert getattr(section, name) == default_of(type(section), name), f"{section}.{name}"
                assert type(getattr(section, name)) is type(default_of(type(section), name))
                seen += 1
    assert seen > 100


class LaterLimits(type(Config().limits)):
    """The section of a later version, with a setting that this one does not have."""

    statements_per_minute: int = setting("How many statements a session may begin in a minute.", "live", 0)


class LaterConfig(Config):
    limits: LaterLimits = setting("What anyone may cost the gateway.", "new_sessions", LaterLimits())
    witnesses: tuple[str, ...] = setting("Who cosigns the trail.", "live", ())


LATER = ("witnesses", ["a"]), ("limits", {"statements_per_minute": 5})


@pytest.mark.parametrize("text", ["", MINIMAL, MINIMAL + "\n[limits]\npending = 77\n"])
def test_a_setting_of_a_later_version_changes_the_digest_where_it_is_set(text):
    now, data = config(text), tomllib.loads(text)
    later = LaterConfig.model_validate(data)
    assert digest(later) == digest(now)
    for name, value in LATER:
        more = data.get(name, {}) | value if isinstance(value, dict) else value
        assert digest(LaterConfig.model_validate(data | {name: more})) != digest(now)


def test_what_is_set_to_its_default_is_not_set():
    assert digest(config(MINIMAL + "\n[tokens]\nleeway = 5\n[limits]\n")) == digest(config(MINIMAL))
