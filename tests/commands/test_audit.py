"""`svcctl audit`: the record exported, proven, and shortened, as an operator types it."""

import json
import stat
from typing import TYPE_CHECKING

import pytest

from tests.support.ages import age

if TYPE_CHECKING:
    from tests.conftest import Prepared, Site, Svcctl

CONFIG = """
[services.lab]
hook = "sandbox"
path = "lab.db"
create = "auto"
access.states = ["Guest"]
"""


@pytest.fixture
def club(prepared: "Prepared", svcctl: "Svcctl") -> "Site":
    """kim, lou and max have accounts; max lost his."""

    def prepare(_: "Site") -> None:
        for name in ("kim", "lou", "max"):
            svcctl("users", "add", name)
        assert svcctl("sync", "--all").exit_code == 0
        assert svcctl("delete", "max", "--yes").exit_code == 0

    return prepared(CONFIG.replace("[services", 'audit.keep = "104w"\n[services'), prepare)


def head(svcctl: "Svcctl") -> str:
    return svcctl("audit", "verify").stdout.split()[-1]


def test_a_record_that_holds_says_so_with_its_head(club: "Site", svcctl: "Svcctl") -> None:
    done = svcctl("audit", "verify")
    count = club.rows("SELECT count(*) AS n FROM operations")[0]["n"]
    said, last = done.stdout.splitlines()
    assert said.startswith(f"as it was recorded; operations: {count}, runs: ")
    assert last.startswith("head ")
    assert (done.exit_code, done.stderr) == (0, "")


def test_what_was_changed_is_named_and_exits_with_1(club: "Site", svcctl: "Svcctl") -> None:
    club.execute("UPDATE operations SET actor = 'nobody' WHERE id = 2")
    done = svcctl("audit", "verify")
    assert done.exit_code == 1
    assert done.stdout.startswith("operation 2: was changed after 20")
    told = json.loads(svcctl("audit", "verify", "--json").stdout)
    assert (told["ok"], [one["subject"] for one in told["findings"]]) == (False, ["operation 2"])


def test_a_kept_head_shows_what_was_cut_off(club: "Site", svcctl: "Svcctl") -> None:
    kept = head(svcctl)
    club.write("mail.txt", f"> all is well\n> head {kept}\n")
    last = int(kept.split(":")[0])
    club.execute("DELETE FROM audit WHERE id >= :last", last=last)
    club.execute("UPDATE runs SET ended_at = NULL WHERE id = (SELECT max(id) FROM runs)")
    assert svcctl("audit", "verify").exit_code == 0
    for against in (kept, "mail.txt"):
        done = svcctl("audit", "verify", "--against", against)
        assert done.exit_code == 1
        assert f"head {last}: was kept, and the chain ends at entry {last - 1}" in done.stdout


def test_an_export_is_for_its_owner_only_and_verifies_elsewhere(
    club: "Site", svcctl: "Svcctl"
) -> None:
    done = svcctl("audit", "export", "--out", "audit.ndjson")
    assert done.stdout.endswith(f" head {head(svcctl)}\n")
    path = club.folder / "audit.ndjson"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert svcctl("audit", "export", "--out", "audit.ndjson").exit_code == 2
    for name in ("svcctl.toml", "svcctl.db"):
        (club.folder / name).rename(club.folder / f"{name}.away")
    assert svcctl("audit", "verify", "--file", "audit.ndjson").exit_code == 0
    path.write_text(path.read_text().replace("set_nickname", "delete_account", 1))
    assert svcctl("audit", "verify", "--file", "audit.ndjson").exit_code == 1


def test_an_export_has_one_line_for_everything(club: "Site", svcctl: "Svcctl") -> None:
    lines = [json.loads(line) for line in svcctl("audit", "export").stdout.splitlines()]
    operations = [line for line in lines if line["event"] == "operation"]
    assert [line["event"] for line in (lines[0], lines[-1])] == ["export", "end"]
    assert len(operations) == lines[-1]["operations"]
    assert {line["user"] for line in operations} == {"kim", "lou", "max"}
    assert {line["args"].get("name") for line in operations} >= {"kim", "lou", "max"}
    some = svcctl("audit", "export", "--user", "kim", "--service", "lab", "--since", "1d").stdout
    assert {json.loads(line).get("user") for line in some.splitlines()} == {None, "kim"}
    assert svcctl("audit", "export", "--until", "2020-01-01").stdout.count("\n") == 2


def test_a_pull_that_is_taken_over_is_in_the_record_and_one_that_is_not_is_not(
    club: "Site", svcctl: "Svcctl"
) -> None:
    club.configure('directory.sources.people = { type = "csv", path = "people.csv" }\n' + CONFIG)
    club.write("people.csv", "username\nzoe\nzoe\n")
    before = head(svcctl)
    assert svcctl("directory", "pull").exit_code == 5
    assert head(svcctl) == before
    club.write("people.csv", "username\nzoe\n")
    assert svcctl("directory", "pull", "--dry-run").exit_code == 0
    assert head(svcctl) == before
    assert svcctl("directory", "pull").exit_code == 0
    *_, entry, _ = map(json.loads, svcctl("audit", "export").stdout.splitlines())
    assert entry["content"]["pulled"]["sources"] == {"people": {"read": 1, "changes": 1}}
    assert svcctl("audit", "verify", "--against", before).exit_code == 0


def test_who_is_forgotten_is_nowhere_and_the_record_holds(club: "Site", svcctl: "Svcctl") -> None:
    kept = head(svcctl)
    club.execute("UPDATE accounts SET status = 'absent', uid = NULL WHERE name = 'max'")
    assert svcctl("users", "forget", "max").exit_code == 0
    done = svcctl("audit", "verify", "--against", kept)
    assert done.exit_code == 0, done
    assert "rows are not proven: who was in them was forgotten" in done.stderr
    exported = svcctl("audit", "export").stdout
    assert "max" not in exported
    assert '"user":"forgotten-3"' in exported


def test_pruning_leaves_what_verifies(club: "Site", svcctl: "Svcctl") -> None:
    assert svcctl("audit", "prune").stdout == ""
    last = club.rows("SELECT max(id) AS id FROM audit")[0]["id"]
    age(club.database, through=last - 2)
    kept = head(svcctl)
    count = club.rows("SELECT count(*) AS n FROM operations")[0]["n"]
    told = json.loads(svcctl("audit", "prune", "--dry-run", "--json").stdout)
    assert (told["entries"], told["operations"], told["dry_run"]) == (last - 2, count - 1, True)
    done = svcctl("audit", "prune")
    assert done.stdout.startswith("deleted from before 20")
    assert f"; operations: {count - 1}, runs: {told['runs']}, entries: {last - 2}\n" in done.stdout
    assert club.rows("SELECT count(*) AS n FROM operations")[0]["n"] == 1
    again = svcctl("audit", "verify", "--against", kept)
    assert again.exit_code == 0
    assert f"the record goes on from entry {last - 2}" in again.stderr
    assert svcctl("audit", "export", "--out", "rest.ndjson").exit_code == 0
    assert svcctl("audit", "verify", "--file", "rest.ndjson", "--against", kept).exit_code == 0
    assert svcctl("sync", "--all").exit_code == 0
    assert svcctl("db", "check").exit_code == 0


def test_a_record_that_does_not_hold_is_not_pruned(club: "Site", svcctl: "Svcctl") -> None:
    club.execute("UPDATE audit SET at = '2020' WHERE id = 1")
    before = club.rows("SELECT * FROM operations")
    refused = svcctl("audit", "prune")
    assert (refused.exit_code, refused.stderr.splitlines()[1]) == (
        74,
        "hint: run: svcctl audit verify",
    )
    assert club.rows("SELECT * FROM operations") == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune", "--keep", "29d"], "--keep: less than 30 days"),
        (["prune", "--keep", "long"], "--keep: not a duration: 'long'"),
        (["export", "--since", "yesterday"], "yesterday: not a moment"),
        (["export", "--since", "99999999w"], "99999999w: not a moment"),
        (["export", "--user", "nobody"], "nobody"),
        (["export", "--out", "no/such/folder"], "no/such/folder: cannot be written"),
        (["verify", "--file", "none"], "none: cannot be read: no such file"),
        (["verify", "--file", "svcctl.toml"], "not an export"),
        (["verify", "--file", "svcctl.db"], "not an export"),
        (["verify", "--file", "."], ".: cannot be read: is a directory"),
        (["verify", "--against", "none"], "none: cannot be read: no such file"),
        (["verify", "--against", "svcctl.toml"], "svcctl.toml: no head in it"),
        (["verify", "--against", "svcctl.db"], "svcctl.db: no head in it"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_said(
    club: "Site", svcctl: "Svcctl", words: list[str], said: str
) -> None:
    done = svcctl("audit", *words)
    assert done.exit_code in (2, 74)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_says_how_long_the_record_is_kept(club: "Site", svcctl: "Svcctl") -> None:
    club.configure(CONFIG)
    done = svcctl("audit", "prune")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (
        2,
        "error: nothing says how long the record is kept",
    )
    club.configure('[audit]\nkeep = "1d"\n')
    assert "audit.keep: less than 30 days" in svcctl("config", "check").stdout
