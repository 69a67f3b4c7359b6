"""`svcctl init --from-live`: a beginning with what a service has, and nothing left to do."""

import csv
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.cli import main
from svcctl.hooks.manager import NewAccount
from svcctl.hooks.sandbox import SandboxManager

if TYPE_CHECKING:
    from tests.conftest import Svcctl

TABLE = '# Our lab.\n[services.lab]\nhook = "sandbox"\npath = "lab.sqlite"'
NASTY = 'x", "y\n[red]\u202e=cmd()'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with nothing but the service, which has people and groups."""
    for name in [name for name in os.environ if name.startswith("SVCCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "svcctl.toml").write_text(TABLE, encoding="utf-8")
    return tmp_path


def fill(folder: Path, *names: str, key: Callable[[str], str] = lambda _: "", **more: Any) -> None:
    with closing(SandboxManager(folder / "lab.sqlite")) as service:
        for number, name in enumerate(names):
            new = NewAccount(name, key(name) or f"svcctl:{number}", "pw", more.get("shown", {}))
            uid = service.create_account(new).uid
            service.set_nickname(uid, more.get("nicknames", {}).get(name, ""))
            groups = more.get("groups", {}).get(name, ())
            service.change_groups(uid, frozenset(groups), frozenset())
            if name in more.get("disabled", ()):
                service.disable_account(uid)


def calls(folder: Path) -> list[Any]:
    with closing(SandboxManager(folder / "lab.sqlite")) as service:
        return list(service.calls())


def people(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        return {row["username"]: row for row in csv.DictReader(file)}


def taken_over(folder: Path, svcctl: "Svcctl", rule: str, service: str = "lab") -> None:
    """What the last line of init says to do leaves nothing to do."""
    assert svcctl("config", "check").exit_code == 0
    assert svcctl("directory", "pull").exit_code == 0
    done = svcctl("adopt", service, "--by", rule, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    plan = svcctl("plan", "--json")
    assert json.loads(plan.stdout)["operations"] == []
    assert json.loads(plan.stdout)["problems"] == []
    drift = svcctl("drift", "--check")
    assert (drift.exit_code, drift.stdout) == (0, ""), drift.stderr


def test_after_a_pull_and_an_adoption_there_is_nothing_to_do(
    folder: Path, svcctl: "Svcctl"
) -> None:
    fill(
        folder,
        *("ada", "Bob B", "cyd", "dan"),
        nicknames={"ada": "Ada [X]", "Bob B": " blank "},
        groups={"ada": ["staff", "fc"], "cyd": ["staff"], "dan": ["fc"]},
        disabled=["dan"],
        shown={"email": "team@example.org", "given_name": "=1+1", "id": "taken", "No Name": "x"},
    )
    before = calls(folder)
    done = svcctl("init", "--from-live", "lab")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == (
        f"{folder}/people.csv: written, 4 people\n"
        f"{folder}/svcctl.toml: 25 lines added\n"
        f"{folder}/svcctl.db: created\n"
    )
    assert done.stderr.endswith("svcctl adopt lab --by uid, svcctl plan\n")
    assert (folder / "svcctl.toml").read_text(encoding="utf-8").startswith(f"{TABLE}\n\n# From")
    assert (folder / "people.csv").stat().st_mode & 0o777 == 0o600
    rows = people(folder)
    assert rows["ada"] == {
        "id": "sb-000001",
        "username": "ada",
        "active": "yes",
        "groups": "fc;staff",
        "email": "team@example.org",
        "given_name": "=1+1",
        "nickname": "Ada [X]",
    }
    assert {name: row["active"] for name, row in rows.items()}["dan"] == "no"
    # A nickname that could not be set like that again is left as it is.
    assert rows["Bob B"]["nickname"] == ""
    taken_over(folder, svcctl, "uid")
    assert calls(folder) == before
    states = json.loads(svcctl("accounts", "list", "--json").stdout)["rows"]
    assert {row["account"]: row["status"] for row in states} == {
        "ada": "active",
        "Bob B": "active",
        "cyd": "active",
    }


def test_external_ids_are_the_ids_where_every_account_has_one_of_its_own(
    folder: Path, svcctl: "Svcctl"
) -> None:
    fill(folder, "ada", "bob", key=lambda name: f"hr-{name}")
    done = svcctl("init", "--from-live", "lab", "--people", "all.csv")
    assert "svcctl adopt lab --by external-id" in done.stderr
    assert 'path = "all.csv"' in (folder / "svcctl.toml").read_text(encoding="utf-8")
    (folder / "all.csv").rename(folder / "people.csv")
    assert {row["id"] for row in people(folder).values()} == {"hr-ada", "hr-bob"}
    (folder / "people.csv").rename(folder / "all.csv")
    taken_over(folder, svcctl, "external-id")


def test_what_cannot_be_written_down_is_left_out_and_said(folder: Path, svcctl: "Svcctl") -> None:
    fill(
        folder,
        *("ada", " ada ", NASTY, "bob", "e\u0301", "\u00e9"),
        groups={
            "ada": ["a;b|c/d,e", "staff"],
            "bob": [NASTY, " staff", "semi;colon"],
        },
        nicknames={"ada": NASTY, "bob": 'quo"te,\u00e9'},
    )
    done = svcctl("init", "--from-live", "lab")
    assert done.exit_code == 0
    assert "\u202e" not in done.stderr
    assert done.stderr.count("lab: left out: account ") == 3
    assert done.stderr.count("lab: left out: group ") == 3
    rows = people(folder)
    assert rows.keys() == {"ada", "bob", "\u00e9"}
    assert (rows["ada"]["groups"], rows["bob"]["groups"]) == ("staff", "semi;colon")
    assert (rows["ada"]["nickname"], rows["bob"]["nickname"]) == ("", 'quo"te,\u00e9')
    assert svcctl("directory", "pull").exit_code == 0
    assert svcctl("adopt", "lab", "--by", "uid", "--yes").exit_code == 0
    assert json.loads(svcctl("plan", "--json").stdout)["operations"] == []


def test_settings_of_ones_own_are_kept(folder: Path, svcctl: "Svcctl") -> None:
    own = (
        f'{TABLE}\nname_format = "{{username}}!"\naccess = {{ users = ["ada"] }}\n'
        "groups = { enabled = false }\n"
    )
    (folder / "svcctl.toml").write_text(own, encoding="utf-8")
    fill(folder, "ada", groups={"ada": ["staff"]}, nicknames={"ada": "Ada"})
    assert svcctl("init", "--from-live", "lab").exit_code == 0
    text = (folder / "svcctl.toml").read_text(encoding="utf-8")
    assert text.startswith(own)
    assert "[services." not in text[len(own) :]
    assert "nickname" not in people(folder)["ada"]
    assert svcctl("config", "check").exit_code == 0


# Nothing is ever overwritten, or half written


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith("lab.sqlite")
    }


@pytest.mark.parametrize(
    ("prepare", "code", "said"),
    [
        ("people.csv", 2, "people.csv: exists already, nothing was written"),
        ("[directory]", 2, "svcctl.toml: has a table [directory] already"),
        ("[states.Member]\npriority = 1", 2, "svcctl.toml: has a table [states] already"),
        ("fault", 5, "list_accounts ended"),
        ("dotted", 78, "cannot be added to"),
        ("--dry-run", 0, ""),
        ("--sample", 2, "--from-live goes by itself"),
        ("unknown", 2, "other: no such service"),
    ],
)
def test_where_it_cannot_begin_nothing_is_written(
    folder: Path, svcctl: "Svcctl", prepare: str, code: int, said: str
) -> None:
    fill(folder, "ada", "bob")
    config = folder / "svcctl.toml"
    if prepare == "people.csv":
        (folder / "people.csv").write_text("mine", encoding="utf-8")
    elif prepare.startswith("["):
        config.write_text(f"{TABLE}\n{prepare}\n", encoding="utf-8")
    elif prepare == "dotted":
        inline = 'services = { lab = { hook = "sandbox", path = "lab.sqlite" } }\n'
        config.write_text(inline, encoding="utf-8")
    elif prepare == "fault":
        with closing(SandboxManager(folder / "lab.sqlite")) as service:
            service.break_method("list_accounts", "incomplete@1")
    before = everything(folder)
    more = [prepare] if prepare.startswith("--") else []
    done = svcctl("init", "--from-live", "other" if prepare == "unknown" else "lab", *more)
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert everything(folder) == before
    if prepare == "--dry-run":
        assert f"would write {folder}/people.csv: 2 people" in done.stdout
        assert "[states.Member]" in done.stdout


def test_a_configuration_that_cannot_be_written_leaves_no_people_behind(
    folder: Path, svcctl: "Svcctl", monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, "ada")
    before = everything(folder)
    config = folder / "svcctl.toml"

    def refuse(self: Path, *arguments: Any, **more: Any) -> Any:
        if self == config and arguments[:1] == ("r+b",):
            raise OSError(30, "Read-only file system")
        return real(self, *arguments, **more)

    real = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    done = svcctl("init", "--from-live", "lab")
    assert done.exit_code == 74
    assert "svcctl.toml: cannot be written: read-only file system" in done.stderr
    monkeypatch.undo()
    assert everything(folder) == before


def test_a_service_that_cannot_list_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = '[services.web]\nhook = "tests.runs.engine_hooks:OverreachingHook"\npath = "x"\n'
    (folder / "svcctl.toml").write_text(config, encoding="utf-8")
    assert main(["init", "--from-live", "web"]) == 2
    assert "services.web: NoPasswordManager cannot list accounts" in capsys.readouterr().err
    assert main(["init", "--people", "x.csv"]) == 2
