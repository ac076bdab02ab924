"""Log in, log out, who am I; where the log-in is kept, and what becomes of a wrong one."""

import io
import json
import shlex
import stat
from pathlib import Path

import pytest

from proxy.cli.failures import Failed
from proxy.cli.home import Home, SavedLogin, write_private
from tests.api.world import PASSWORD, ApiWorld
from tests.cli.conftest import Shell


def test_login_is_kept_private_and_used(tidegate: Shell) -> None:
    done = tidegate("alice", "whoami")
    assert (done.code, done.err) == (0, "")
    assert "alice" in done.out
    file = tidegate.home("alice") / "login.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert PASSWORD not in file.read_text()
    # from now on no variable is needed
    tidegate.monkeypatch.delenv("TIDEGATE_API")
    assert tidegate.run("whoami", "--json").json["name"] == "alice"


def test_the_token_is_printed_nowhere(tidegate: Shell) -> None:
    tidegate.become("alice")
    for words in (("login", "--user", "alice"), ("login", "--user", "alice", "--json")):
        done = tidegate.run(*words)
        assert done.code == 0
        assert "eyJ" not in done.out + done.err


def test_a_password_by_standard_input_wins(tidegate: Shell) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.setenv("TIDEGATE_PASSWORD", "wrong")
    tidegate.monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert tidegate.run("login", "--user", "alice", "--password-stdin").code == 0


def test_a_wrong_password_is_denied_in_words(tidegate: Shell) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.setenv("TIDEGATE_PASSWORD", "wrong")
    done = tidegate.run("login", "--user", "alice")
    assert done.code == 3
    assert done.err.startswith("tidegate: the name or the password is wrong\n  next: ")
    assert not (tidegate.home("alice") / "login.json").exists()


def test_no_terminal_and_no_password(tidegate: Shell) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.delenv("TIDEGATE_PASSWORD")
    tidegate.monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = tidegate.run("login", "--user", "alice")
    assert done.code == 2
    assert "--password-stdin" in done.err


def test_logout_ends_it_here_and_there(tidegate: Shell, world: ApiWorld) -> None:
    tidegate("alice", "whoami")
    kept = (tidegate.home("alice") / "login.json").read_text()
    assert tidegate("alice", "logout").code == 0
    assert not (tidegate.home("alice") / "login.json").exists()
    assert len(world.store.state.tokens) == 1
    (tidegate.home("alice") / "login.json").write_text(kept)
    (tidegate.home("alice") / "login.json").chmod(0o600)
    assert tidegate.run("whoami").code == 3


def test_a_logout_that_the_gateway_was_not_told_of_is_not_done(tidegate: Shell) -> None:
    tidegate("alice", "whoami")
    file = tidegate.home("alice") / "login.json"
    kept = file.read_text()
    file.write_text(kept.replace(json.loads(kept)["api"], "http://127.0.0.1:1"))
    tidegate.monkeypatch.setenv("TIDEGATE_API", "http://127.0.0.1:1")
    done = tidegate("alice", "logout", "--json")
    assert (done.code, done.json["done"], file.exists()) == (4, False, False)
    assert "could not be told" in done.json["detail"]
    again = tidegate("alice", "logout", "--json")
    assert (again.code, again.json["done"]) == (0, True)
    file.write_text(kept)  # of another API than the one that is named
    file.chmod(0o600)
    assert tidegate("alice", "logout", "--json").json["done"] is False


def test_not_logged_in_is_denied_with_what_to_do(tidegate: Shell) -> None:
    tidegate.become("nobody")
    done = tidegate.run("grants")
    assert done.code == 3
    assert "next: tidegate login" in done.err


def test_a_login_goes_to_no_other_api(tidegate: Shell) -> None:
    tidegate("alice", "whoami")
    tidegate.monkeypatch.setenv("TIDEGATE_API", "http://127.0.0.1:1")
    done = tidegate.run("whoami")
    assert done.code == 3
    assert "your log-in is for" in done.err


def test_not_reachable_is_4(tidegate: Shell) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.setenv("TIDEGATE_API", "http://127.0.0.1:1")
    done = tidegate.run("login", "--user", "alice")
    assert done.code == 4
    assert "cannot be reached" in done.err
    done = tidegate.run("--json", "login", "--user", "alice")
    assert done.code == 4
    assert json.loads(done.err)["hint"]


@pytest.mark.parametrize("api", ["", "ftp://x", "nonsense", "http://example.com:80"])
def test_an_address_that_will_not_do_is_wrong_usage(tidegate: Shell, api: str) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.setenv("TIDEGATE_API", api)
    assert tidegate.run("login", "--user", "alice").code == 2


def test_a_ca_that_is_not_there_is_wrong_usage(tidegate: Shell, tmp_path: Path) -> None:
    tidegate.become("alice")
    tidegate.monkeypatch.setenv("TIDEGATE_API", "https://127.0.0.1:1")
    tidegate.monkeypatch.setenv("TIDEGATE_CA", str(tmp_path / "none.pem"))
    done = tidegate.run("login", "--user", "alice")
    assert done.code == 2
    assert "TIDEGATE_CA" in done.err


def home(tmp_path: Path) -> Home:
    return Home({"TIDEGATE_HOME": str(tmp_path / "home")})


def test_a_login_that_others_may_read_is_refused(tmp_path: Path) -> None:
    there = home(tmp_path)
    there.save(SavedLogin("https://x", "alice", "t"))
    there.file.chmod(0o640)
    with pytest.raises(Failed, match="read by others"):
        there.load()


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"api": "x"}'])
def test_a_broken_login_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    there = home(tmp_path)
    there.folder.mkdir()
    write_private(there.file, text)
    with pytest.raises(Failed, match="is not a log-in"):
        there.load()


def test_a_private_file_replaces_another_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_no_home_is_no_login(tmp_path: Path) -> None:
    assert home(tmp_path).load() is None
    home(tmp_path).forget()


def test_a_saved_login_does_not_print_its_token() -> None:
    assert "secret" not in repr(SavedLogin("a", "b", "secret"))


def test_a_log_in_that_others_can_read_says_what_to_type(tmp_path: Path) -> None:
    home = Home({"TIDEGATE_HOME": str(tmp_path / "with a blank")})
    home.save(SavedLogin("https://127.0.0.1:1", "alice", "token"))
    home.file.chmod(0o644)
    with pytest.raises(Failed) as told:
        home.load()
    assert shlex.split(told.value.hint)[-3:] == ["chmod", "600", str(home.file)]
