"""The metrics file: what a Prometheus reads in it, when it is written, and what it never says."""

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_world import STATES, World, lab, names  # type: ignore[import-not-found]
from prometheus_client.parser import text_string_to_metric_families

Build = Callable[..., World]
Labels = dict[str, str]

MONITOR = '[monitor]\nmetrics_file = "metrics/svcctl.prom"\n'
PEOPLE = '[directory.sources.people]\ntype = "csv"\npath = "people.csv"\n'


@pytest.fixture
def w(world: Build, quick: None) -> World:
    """Twelve people with accounts on lab and wiki, and a folder for the file."""
    made = world(lab(), lab("wiki"), top=MONITOR + PEOPLE)
    (made.site.folder / "metrics").mkdir()
    made.people(names(12), "staff", attributes={"email": "somebody@example.org"})
    assert made.run("sync", "--all")[0] == 0
    return made


def path(w: World) -> Path:
    found: Path = w.site.folder / "metrics" / "svcctl.prom"
    return found


def samples(text: str) -> Iterator[tuple[str, Labels, float]]:
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            yield sample.name.removeprefix("svcctl_"), sample.labels, sample.value


def values(w: World, name: str, **labels: str) -> dict[str, float]:
    """The samples of a metric with these labels, by the values of the other ones."""
    return {
        " ".join(value for key, value in found.items() if key not in labels): value
        for sample, found, value in samples(path(w).read_text(encoding="utf-8"))
        if sample == name and labels.items() <= found.items()
    }


def test_every_run_leaves_what_is_and_how_it_went(w: World) -> None:
    assert values(w, "accounts", service="lab") == {"active": 12, "disabled": 0}
    assert values(w, "users") == {"Member": 12}
    assert values(w, "last_run_exit_code", command="sync") == {"lab": 0, "wiki": 0}
    assert values(w, "failures_in_a_row", command="sync") == {"lab": 0, "wiki": 0}
    assert values(w, "last_run_operations", service="lab", command="sync") == {
        "done create_account": 12,
        "done change_groups": 12,
        "done set_nickname": 12,
    }
    (run,) = w.rows("SELECT strftime('%s', ended_at) AS ended FROM runs")
    for name in ("last_run_timestamp_seconds", "last_success_timestamp_seconds"):
        assert values(w, name, service="wiki") == {"sync": float(run["ended"])}
    assert values(w, "paused") == {"lab": 0, "wiki": 0}
    assert stat.S_IMODE(path(w).stat().st_mode) == 0o644


def test_what_fails_is_counted_until_it_is_over_and_per_service(w: World) -> None:
    w.sandbox().break_method("disable_account", "invalid:user00003")
    w.regroup(["user00003"], out_of="staff")
    w.site.execute("UPDATE runs SET ended_at = '2026-01-01T00:00:10Z', started_at = :start",
                   start="2026-01-01T00:00:03Z")  # fmt: skip
    for failures in (1, 2):
        assert w.svcctl("sync", "--all").exit_code == 1
        assert values(w, "failures_in_a_row") == {"sync lab": failures, "sync wiki": 0}
    # Somebody at the shell, and another command, say nothing of the runs that count.
    assert w.svcctl("sync", "user00001").exit_code == 0
    assert w.svcctl("sync-nickname", "--all").exit_code == 0
    assert values(w, "last_run_exit_code", command="sync") == {"lab": 1, "wiki": 0}
    assert values(w, "last_success_timestamp_seconds", command="sync")["lab"] == 1767225610
    assert values(w, "failures_in_a_row", command="sync-nickname") == {"lab": 0, "wiki": 0}
    assert values(w, "retries") == {"lab": 1, "wiki": 0}
    w.sandbox().heal()
    w.age()
    assert w.svcctl("sync", "--all").exit_code == 0
    assert values(w, "failures_in_a_row", command="sync") == {"lab": 0, "wiki": 0}
    assert values(w, "last_success_timestamp_seconds", command="sync")["lab"] > 1767225610
    assert values(w, "retries") == {"lab": 0, "wiki": 0}
    assert values(w, "accounts", service="lab") == {"active": 11, "disabled": 1}


def test_what_is_held_is_no_failure_and_no_success(w: World) -> None:
    w.sandbox("wiki").break_method("list_accounts", "incomplete")
    w.regroup(names(10), out_of="staff")
    assert w.svcctl("sync", "--all").exit_code == 4
    assert values(w, "last_run_exit_code") == {"sync lab": 4, "sync wiki": 4}
    assert values(w, "failures_in_a_row") == {"sync lab": 0, "sync wiki": 0}
    assert values(w, "open_operations", service="lab")["held"] == 10
    assert w.svcctl("update-all-groups").exit_code == 5
    assert values(w, "last_run_exit_code", command="update-all-groups") == {"lab": 0, "wiki": 5}


def test_a_run_that_takes_time_and_is_stopped(w: World) -> None:
    w.site.execute(
        "UPDATE runs SET started_at = strftime('%Y-%m-%dT%H:%M:%SZ', ended_at, '-5 seconds')"
    )
    assert w.svcctl("monitor").exit_code == 0
    assert values(w, "last_run_duration_seconds", command="sync") == {"lab": 5, "wiki": 5}
    w.regroup(names(1), out_of="staff")
    assert w.svcctl("sync", "--all", "--max-runtime", "0").exit_code == 75
    assert values(w, "last_run_exit_code") == {"sync lab": 0, "sync wiki": 0}


def test_who_is_missing_from_a_source(w: World) -> None:
    w.site.write("people.csv", "username\n" + "".join(f"p{number}\n" for number in range(20)))
    assert w.svcctl("directory", "pull").exit_code == 0
    assert values(w, "source_users", source="people") == {"present": 20, "missing": 0, "lost": 0}
    w.site.write("people.csv", "username\n" + "".join(f"p{number}\n" for number in range(18)))
    assert w.svcctl("directory", "pull").exit_code == 0
    assert values(w, "source_users", source="people") == {"present": 18, "missing": 2, "lost": 0}
    assert w.svcctl("directory", "pull").exit_code == 0
    assert values(w, "source_users", source="people") == {"present": 18, "missing": 0, "lost": 2}


def test_when_a_source_was_last_taken_over(w: World) -> None:
    name = "source_last_pull_timestamp_seconds"
    w.site.write("people.csv", "username\nada\n")
    assert w.svcctl("monitor").exit_code == 0
    assert values(w, name) == {}
    assert w.svcctl("directory", "pull", "--dry-run").exit_code == 0
    assert w.rows("SELECT * FROM pulls") == []
    assert w.svcctl("directory", "pull").exit_code == 0
    (row,) = w.rows("SELECT strftime('%s', at) AS at FROM pulls")
    assert values(w, name) == {"people": float(row["at"])}
    # One that is refused is none.
    w.age("at", "pulls")
    w.site.write("people.csv", "username\nada\nada\n")
    assert w.svcctl("directory", "pull").exit_code == 5
    assert values(w, name) == {"people": 1577836800}
    w.site.write("people.csv", "username\nada\n")
    assert w.svcctl("directory", "pull").exit_code == 0
    assert values(w, name)["people"] >= float(row["at"])


def test_monitor_prints_and_writes_the_same_and_needs_no_configuration(w: World) -> None:
    told = w.svcctl("monitor", "--metrics-file", "-")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout == path(w).read_text()
    path(w).unlink()
    assert w.svcctl("monitor") == (type(told)(0, "", ""))
    assert told.stdout == path(w).read_text()
    assert w.svcctl("monitor", "--metrics-file", "own.prom").exit_code == 0
    assert (w.site.folder / "own.prom").read_text() == told.stdout
    w.site.configure((w.site.folder / "svcctl.toml").read_text().replace(MONITOR, ""))
    assert w.svcctl("monitor").stdout == told.stdout


def test_labels_are_escaped_and_name_no_person(world: Build, quick: None) -> None:
    odd = 'Mem"ber\\ of {all}'
    states = f"[states.{json.dumps(odd)}]\npublic = true\npriority = 0\n"
    w = world(lab(), top=MONITOR, states=STATES + states)
    w.people(["ada@example.org"], attributes={"email": "lovelace@example.org"})
    told = w.svcctl("monitor", "--metrics-file", "-").stdout
    assert [labels["state"] for name, labels, _ in samples(told) if name == "users"] == [odd]
    for private in ("ada", "lovelace", "example.org"):
        assert private not in told


def test_the_guide_names_every_metric(w: World) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to.md").read_text(encoding="utf-8")
    families = text_string_to_metric_families(path(w).read_text(encoding="utf-8"))
    assert set(re.findall(r"`(svcctl_\w+)", guide)) == {family.name for family in families}


def test_a_file_that_cannot_be_written_changes_nothing_else(w: World) -> None:
    text = (w.site.folder / "svcctl.toml").read_text()
    before = path(w).read_text()
    w.site.configure(text.replace("metrics/", "nowhere/"))
    done = w.svcctl("sync", "--all")
    assert done.exit_code == 0
    assert "monitor: metrics are not written: " in done.stderr
    assert "no such file or directory\nhint: check monitor.metrics_file" in done.stderr
    assert w.svcctl("monitor").exit_code == 74
    w.site.configure(text)
    (w.site.folder / "metrics").chmod(0o500)
    if os.geteuid() != 0:
        assert w.svcctl("sync", "--all").exit_code == 0
    assert path(w).read_text() == before
    assert [one.name for one in path(w).parent.iterdir()] == ["svcctl.prom"]


def test_a_dry_run_writes_none(w: World) -> None:
    path(w).unlink()
    for words in (["plan"], ["sync", "--all", "--dry-run"], ["directory", "pull", "--dry-run"]):
        w.svcctl(*words)
        assert not path(w).exists(), words


def test_a_run_that_ends_with_an_error_writes_them_too(w: World) -> None:
    path(w).unlink()
    w.site.execute("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'no'); END")
    assert w.svcctl("sync", "--all").exit_code == 74
    assert values(w, "accounts", service="lab") == {"active": 12, "disabled": 0}


def test_without_the_library_the_command_that_installs_it_is_said(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    done = w.svcctl("monitor")
    assert (done.exit_code, done.stderr) == (
        78,
        "error: prometheus-client is not installed\nhint: pip install 'svcctl[metrics]'\n",
    )
    run = w.svcctl("sync", "--all")
    assert run.exit_code == 0
    assert "monitor: metrics are not written: prometheus-client is not installed\n" in run.stderr


def test_a_name_that_node_exporter_would_not_read_is_refused(site: Any, svcctl: Any) -> None:
    site().configure('[monitor]\nmetrics_file = "svcctl.txt"\n')
    done = svcctl("config", "check")
    assert done.exit_code == 78
    assert (
        "monitor.metrics_file: does not end in .prom; node_exporter reads no other" in done.stdout
    )
