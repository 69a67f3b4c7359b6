"""`svcctl init`: what it writes works, and it never writes over anything."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from svcctl.cli import main
from svcctl.store.database import SCHEMA


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SVCCTL_CONFIG", raising=False)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_it_writes_a_private_configuration_that_works_and_the_database(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder}/svcctl.toml: written\n{folder}/svcctl.db: created\n"
    assert err.startswith("next: ")
    assert names(folder) == ["svcctl.db", "svcctl.toml"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    with sqlite3.connect(folder / "svcctl.db") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]
    database.close()

    assert main(["config", "check"]) == 0
    assert main(["users", "add", "ada"]) == 0
    assert main(["plan"]) == 0


def test_the_sample_brings_people_and_a_service_in_step(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--sample"]) == 0
    assert names(folder) == ["people.csv", "svcctl.db", "svcctl.toml"]
    assert main(["directory", "pull"]) == 0
    assert main(["sync", "--all"]) == 0
    capsys.readouterr()

    assert main(["accounts", "list", "--format", "csv"]) == 0
    rows = [line.split(",")[:4] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(rows) == [
        ["lab", name, name, "active"] for name in ("ada", "bob", "grace", "kim")
    ]


@pytest.mark.parametrize("sample", [[], ["--sample"]], ids=["plain", "sample"])
def test_a_file_that_is_there_is_never_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str], sample: list[str]
) -> None:
    name = "people.csv" if sample else "svcctl.toml"
    (folder / name).write_text("mine")
    assert main(["init", *sample]) == 2
    assert capsys.readouterr().err == (
        f"error: {folder}/{name}: exists already, nothing was written\n"
        "hint: give another --path, or move the file away\n"
    )
    assert names(folder) == [name]
    assert (folder / name).read_text() == "mine"


def test_a_dry_run_shows_the_files_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--sample", "--systemd", "units", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for name in ("svcctl.toml", "people.csv", "units/svcctl.service", "units/svcctl.timer"):
        assert f"would write {folder}/{name}:\n" in out
    assert f"would create or upgrade {folder}/svcctl.db\n" in out
    assert names(folder) == []

    (folder / "svcctl.toml").write_text("mine")
    assert main(["init", "--dry-run"]) == 2


def test_another_path_is_taken_from_either_option(folder: Path) -> None:
    assert main(["init", "--path", "one/svcctl.toml"]) == 0
    assert main(["--config", "two/site.toml", "init"]) == 0
    assert {"one/svcctl.toml", "one/svcctl.db", "two/site.toml", "two/svcctl.db"} < set(
        names(folder)
    )
    assert (folder / "one").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_written_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("")
    assert main(["init", "--path", "file/svcctl.toml"]) == 74
    assert "cannot be written" in capsys.readouterr().err


def test_the_crontab_line_is_whole_and_leaves_the_configuration_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "50% done" / "svcctl.toml"
    assert main(["init", "--path", str(config)]) == 0
    before = config.read_bytes()
    capsys.readouterr()

    assert main(["init", "--path", str(config), "--cron"]) == 0
    line = capsys.readouterr().out
    assert config.read_bytes() == before
    assert line.count("\n") == 1
    schedule, command = line.rstrip("\n").split("  ", 1)
    assert schedule == "*/15 * * * *"
    # cron hands it to sh, with \% for %.
    assert "%" not in command.replace("\\%", "")
    done = subprocess.run(
        ["sh", "-c", command.replace("\\%", "%").replace(" directory pull;", " config check;")],
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_crontab_line_does_its_work_in_crons_bare_environment(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--sample"]) == 0
    capsys.readouterr()
    assert main(["init", "--cron"]) == 0
    _, command = capsys.readouterr().out.rstrip("\n").split("  ", 1)

    def cron() -> tuple[int, str, str]:
        """What crontab(5) says of the environment of its jobs."""
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("\\%", "%")],
            cwd="/",
            env={
                "HOME": str(folder),
                "LOGNAME": "nobody",
                "SHELL": "/bin/sh",
                "PATH": "/usr/bin:/bin",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    code, said, wrong = cron()
    assert (code, wrong) == (0, "")
    assert "create_account" in said
    assert cron() == (0, "", "")


def test_the_units_name_this_svcctl_and_this_configuration(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    assert main(["init", "--systemd", "units"]) == 0
    assert names(folder / "units") == ["svcctl.service", "svcctl.timer"]
    service = (folder / "units/svcctl.service").read_text().splitlines()
    assert f"LoadCredential=svcctl.toml:{folder}/svcctl.toml" in service
    for setting in ("DynamicUser=yes", "StateDirectory=svcctl", "SuccessExitStatus=75"):
        assert setting in service
    start = next(line for line in service if line.startswith("ExecStart="))
    assert str(Path(sys.executable).parent) in start
    assert "pulled=$$?" in start
    assert "RandomizedDelaySec=60" in (folder / "units/svcctl.timer").read_text().splitlines()

    assert f"#LoadCredential=wiki:{folder}/wiki" in service

    assert main(["init", "--systemd", "units"]) == 2
    capsys.readouterr()
    assert main(["init", "--systemd", "-"]) == 0
    assert capsys.readouterr().out.startswith("# svcctl.service\n")


def test_the_unit_loads_every_credential_that_the_configuration_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "svcctl.toml").write_text(
        'vault_key = { credential = "svcctl.key" }\n'
        "[services.wiki]\n"
        'hook = "scim"\n'
        'token = { credential = "100%" }\n'
        'header = { credential = "no", value = "secret" }\n'
        'more = [{ credential = "svcctl.key" }]\n'
    )
    assert main(["init", "--systemd", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "LoadCredential" in line] == [
        f"LoadCredential=svcctl.toml:{folder}/svcctl.toml",
        f"LoadCredential=100%%:{folder}/100%%",
        f"LoadCredential=svcctl.key:{folder}/svcctl.key",
    ]
