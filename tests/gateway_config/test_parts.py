"""One configuration in several files: each part has its owners, and each problem its file and line."""

import os
from pathlib import Path

import pytest

from gateway_config.difference import difference
from gateway_config.loading import load, read
from gateway_config.parts import MAX_FILE
from gateway_config.problems import ConfigProblems
from gateway_config.schema import Config, digest
from tests.gateway_config.files import MINIMAL


def policy(name: str, more: str = "") -> str:
    return f'[[policies]]\nname = "{name}"\nwho = ["*"]\nresources = ["shop"]\napproval = "deny"\n{more}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration that includes all of ``policies``, of which there are none yet."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "gateway.toml").write_text('include = ["policies/*.toml"]\n' + MINIMAL)
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / "policies" / name
    path.write_text(text)
    return path


def loaded(folder: Path) -> Config:
    return load(folder / "gateway.toml", with_surroundings=False)


def problems(folder: Path) -> list[str]:
    """What is wrong, with the folder left out."""
    with pytest.raises(ConfigProblems) as raised:
        loaded(folder)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


def names(config: Config) -> list[str]:
    return [each.name for each in config.policies]


def test_policies_follow_those_of_the_main_file_sorted_by_file(folder: Path) -> None:
    with (folder / "gateway.toml").open("a") as main:
        main.write(policy("own"))
    write(folder, "b.toml", policy("b1") + policy("b2"))
    write(folder, "a.toml", policy("a1"))
    write(folder, "empty.toml", "# nothing yet\n")
    write(folder, ".a.toml.swp", "an editor's own")
    write(folder, "notes.md", "no policy")
    assert names(loaded(folder)) == ["own", "a1", "b1", "b2"]


def test_patterns_in_their_order_and_a_file_once(folder: Path) -> None:
    for name in ("a", "b", "c"):
        write(folder, f"{name}.toml", policy(name))
    elsewhere = folder / "elsewhere.toml"
    elsewhere.write_text(policy("absolute"))
    patterns = f'["policies/c.toml", "policies/[ac].toml", "{elsewhere}"]'
    text = MINIMAL
    (folder / "gateway.toml").write_text(f"include = {patterns}\n{text}")
    assert names(loaded(folder))[-3:] == ["c", "a", "absolute"]
    (folder / "gateway.toml").write_text(f'include = "policies/b.toml"\n{text}')
    assert names(loaded(folder))[-1] == "b"


def test_the_same_policies_in_one_file_or_several_are_the_same_configuration(folder: Path) -> None:
    write(folder, "a.toml", policy("a") + policy("b"))
    split = loaded(folder)
    write(folder, "a.toml", policy("a"))
    write(folder, "b.toml", policy("b"))
    again = loaded(folder)
    whole = read(MINIMAL + policy("a") + policy("b"), source="one.toml", base=folder, with_surroundings=False)
    assert digest(split) == digest(again) == digest(whole)
    assert difference(split, again) == []


def test_a_change_in_a_part_is_a_change_of_its_policy(folder: Path) -> None:
    write(folder, "a.toml", policy("a"))
    before = loaded(folder)
    write(folder, "a.toml", policy("a", 'accounts = ["readonly"]\n'))
    write(folder, "b.toml", policy("b"))
    after = loaded(folder)
    assert {str(each) for each in difference(before, after)} == {
        "policies[a].accounts changed (live)",
        "policies[b] added (live)",
    }
    assert digest(before) != digest(after)


def test_every_problem_names_its_file_and_line(folder: Path) -> None:
    write(folder, "a.toml", policy("a"))
    write(folder, "b.toml", "\n" + policy("b", 'accounts = ["nobody"]\n') + policy("a"))
    said = problems(folder)
    assert any(each.startswith("policies/b.toml:7: policies[0].accounts[0]: ") for each in said), said
    assert 'policies/b.toml:9: policies[1].name: "a" is the name of policies[0] of policies/a.toml already' in said
    write(folder, "b.toml", policy("b", "colour = 3\n"))
    (said,) = problems(folder)
    assert said.startswith("policies/b.toml:6: policies[0].colour: is no setting")


def test_all_parts_are_read_before_anything_is_said(folder: Path) -> None:
    write(folder, "a.toml", policy("a") + "[[policies\n")
    write(folder, "b.toml", '[api]\nlisten = "0.0.0.0:1"\n' + policy("b"))
    write(folder, "c.toml", 'include = ["more/*.toml"]\n' + policy("c"))
    write(folder, "d.toml", "policies = 3\n")
    (folder / "policies" / "e.toml").write_bytes(b"\n\xff")
    assert [each.split(": ")[:2] for each in problems(folder)] == [
        ["policies/a.toml:6", "is not TOML"],
        ["policies/b.toml:1", "api"],
        ["policies/c.toml:1", "include"],
        ["policies/d.toml:1", "policies"],
        ["policies/e.toml:2", "is not UTF-8 text"],
    ]
    said = "\n".join(problems(folder))
    assert "an included file holds [[policies]] alone" in said
    assert "an included file includes no others" in said


def test_a_pattern_that_nothing_fits_is_refused(folder: Path) -> None:
    """A misspelt one could leave a deny out."""
    assert problems(folder) == ['gateway.toml:1: include[0]: no file fits "policies/*.toml"']


@pytest.mark.parametrize("wrong", ["3", "[3]", '[""]', '["a\\u0000b"]'])
def test_what_is_no_pattern_is_told(folder: Path, wrong: str) -> None:
    (folder / "gateway.toml").write_text(f"include = {wrong}\n{MINIMAL}")
    assert [each for each in problems(folder) if each.startswith("gateway.toml:1: include")]


def test_a_part_is_a_file_that_not_everyone_may_change(folder: Path) -> None:
    write(folder, "a.toml", policy("a")).chmod(0o666)
    os.mkfifo(folder / "policies" / "b.toml")
    (folder / "policies" / "c.toml").mkdir()
    (folder / "policies" / "d.toml").symlink_to("nowhere")
    assert problems(folder) == [
        "policies/a.toml: everyone on this machine may change it; chmod o-w it",
        "policies/b.toml: is not a regular file",
        "policies/c.toml: is not a regular file",
        "policies/d.toml: No such file or directory",
    ]


def test_a_link_to_a_file_is_as_good_as_the_file(folder: Path) -> None:
    """Kubernetes mounts every file of a ConfigMap like that."""
    (folder / "..data").mkdir()
    (folder / "..data" / "a.toml").write_text(policy("a"))
    (folder / "policies" / "a.toml").symlink_to("../..data/a.toml")
    assert names(loaded(folder))[-1] == "a"


def test_all_files_together_have_one_bound(folder: Path) -> None:
    half = "#" * (MAX_FILE // 2) + "\n"
    write(folder, "a.toml", half + policy("a"))
    write(folder, "b.toml", half + policy("b"))
    assert problems(folder) == [f"policies/b.toml: is larger than {MAX_FILE} bytes, with the files before it"]
