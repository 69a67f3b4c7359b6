"""Secrets: four ways to say where one is, and no way to see it by accident."""

import copy
import json
import logging
import pickle
import sys
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from svcctl.config import secrets, values
from svcctl.config.secrets import Secret
from svcctl.config.service import Frozen
from svcctl.errors import ConfigError, ExitCode


class Settings(Frozen):
    token: Secret


def secret(folder: Path, **reference: object) -> Secret:
    settings = Settings.model_validate({"token": reference})
    placed = values.anchored(settings, folder, "services.wiki")
    assert isinstance(placed, Settings)
    return placed.token


def test_an_environment_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "hunter2")
    assert secret(folder, env="WIKI_TOKEN").reveal() == "hunter2"


def test_a_file_near_the_configuration_without_its_last_newline(folder: Path) -> None:
    (folder / "wiki.token").write_bytes(b" hunter 2 \n")
    (folder / "wiki.token").chmod(0o600)
    assert secret(folder, file="wiki.token").reveal() == " hunter 2 "


def test_the_first_line_that_a_command_prints(folder: Path) -> None:
    program = "print('hunter2'); print('login: ada')"
    assert secret(folder, command=[sys.executable, "-c", program]).reveal() == "hunter2"


def test_a_command_has_no_shell(folder: Path) -> None:
    assert secret(folder, command=["echo", "$HOME; id"]).reveal() == "$HOME; id"


def test_a_systemd_credential(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    (folder / "wiki").write_text("hunter2\n")
    (folder / "wiki").chmod(0o400)
    assert secret(folder, credential="wiki").reveal() == "hunter2"


def test_it_is_fetched_when_needed_and_once(folder: Path) -> None:
    path = folder / "token"
    reference = secret(folder, file="token")
    path.write_text("hunter2")
    assert reference.reveal() == "hunter2"
    path.unlink()
    assert reference.reveal() == "hunter2"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hunter2", "a secret has no place in the configuration; write { env"),
        (17, "a secret has no place in the configuration; write { env"),
        ({}, "must be exactly one of { env"),
        ({"env": "A", "file": "hunter2"}, "must be exactly one of { env"),
        ({"value": "hunter2"}, "must be exactly one of { env"),
        ({"env": ""}, "env: must be the name of an environment variable"),
        ({"env": "A=hunter2"}, "env: must be the name of an environment variable"),
        ({"file": ["hunter2"]}, "file: must be a file that holds nothing else"),
        ({"command": "echo hunter2"}, "command: must be a list of words"),
        ({"command": []}, "command: must be a list of words"),
        ({"command": ["echo", 5]}, "command: must be a list of words"),
        ({"credential": "../hunter2"}, "credential: must be a name, not a path"),
        ({"credential": ".."}, "credential: must be a name, not a path"),
    ],
)
def test_anything_else_is_refused_without_repeating_it(value: object, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"token": value})
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ({"env": "GONE"}, "env GONE: is not set", "export GONE"),
        ({"env": "EMPTY"}, "env EMPTY: is empty", "must have a value"),
        ({"file": "gone"}, "file {folder}/gone: no such file or directory", "put the value in"),
        ({"file": "empty"}, "file {folder}/empty: is empty", "must have a value"),
        ({"file": "."}, "file {folder}: is not a regular file", "name a file"),
        ({"file": "open"}, "file {folder}/open: can be changed by others", "chmod 600"),
        ({"file": "binary"}, "file {folder}/binary: is not UTF-8", "secrets are text"),
        ({"file": "huge"}, "file {folder}/huge: has more than 65536 bytes", "nothing else"),
        ({"file": "/dev/zero"}, "file /dev/zero: is not a regular file", "name a file"),
        (
            {"command": ["gone-program", "hunter2"]},
            "command gone-program: cannot be run",
            "by hand",
        ),
        ({"command": ["false", "hunter2"]}, "command false: failed with exit code 1", "by hand"),
        ({"command": ["true", "hunter2"]}, "command true: is empty", "must have a value"),
        ({"credential": "wiki"}, "credential wiki: $CREDENTIALS_DIRECTORY is not set", "systemd"),
    ],
)
def test_what_cannot_be_fetched_is_named_by_key_and_reference(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, object],
    message: str,
    hint: str,
) -> None:
    monkeypatch.setenv("EMPTY", "")
    for name, content in {"empty": b"\n", "open": b"x", "binary": b"\xff\n"}.items():
        (folder / name).write_bytes(content)
    (folder / "huge").write_bytes(b"x" * 70_000)
    (folder / "open").chmod(0o620)
    with pytest.raises(ConfigError) as raised:
        secret(folder, **reference).reveal()
    expected = "services.wiki.token: " + message.replace("{folder}", str(folder))
    assert raised.value.message.startswith(expected)
    assert hint in (raised.value.hint or "")
    assert "hunter2" not in raised.value.message
    assert raised.value.exit_code is ExitCode.CONFIG


def test_a_command_that_hangs_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=r"command sleep: gave no answer in 0\.2 s"):
        secret(folder, command=["sleep", "60"]).reveal()


def test_what_a_failing_command_printed_is_not_repeated(folder: Path) -> None:
    program = "import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)"
    reference = secret(folder, command=[sys.executable, "-c", program])
    with pytest.raises(ConfigError) as raised:
        reference.reveal()
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    frames = [line for line in shown.format() if "/svcctl/" in line]
    assert frames
    assert "hunter2" not in "".join(frames)
    assert "exit code 3" in str(raised.value)


def test_the_value_is_nowhere_to_be_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "hunter2")
    settings = Settings.model_validate({"token": {"env": "WIKI_TOKEN"}})
    token = settings.token
    assert token.reveal() == "hunter2"
    logging.getLogger("test").warning("%s %r %s", token, token, settings)
    shown = [
        repr(token),
        str(token),
        f"{token}",
        repr(settings),
        settings.model_dump_json(),
        str(settings.model_dump()),
        json.dumps(values.plain(settings)),
        json.dumps(Settings.model_json_schema()),
        caplog.text,
    ]
    assert "hunter2" not in "\n".join(shown)
    assert repr(token) == "Secret(env WIKI_TOKEN)"
    assert settings.model_dump_json() == '{"token":{"env":"WIKI_TOKEN"}}'


def test_arguments_of_a_command_are_not_shown(folder: Path) -> None:
    reference = secret(folder, command=["vault", "--token", "hunter2"])
    assert repr(reference) == "Secret(command vault)"
    assert values.plain(reference) == {"command": ["vault", "…"]}
    assert reference.reference == {"command": ["vault", "--token", "hunter2"]}


def test_it_can_be_neither_pickled_nor_changed(folder: Path) -> None:
    reference = secret(folder, env="HOME")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(reference)
    with pytest.raises(AttributeError, match="cannot be changed"):
        reference.kind = "file"
    with pytest.raises(AttributeError, match="cannot be changed"):
        del reference.kind
    assert copy.deepcopy(reference) is reference
    assert copy.copy(reference) is reference


def test_equal_means_the_same_place(folder: Path) -> None:
    assert secret(folder, env="A") == secret(folder, env="A")
    assert len({secret(folder, env="A"), secret(folder, env="A"), secret(folder, file="A")}) == 2


def test_a_look_warns_of_a_file_that_others_can_read_and_runs_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "token").write_text("hunter2")
    (folder / "token").chmod(0o644)
    reference = secret(folder, file="token")
    assert reference.inspect() == (
        f"services.wiki.token: {folder}/token can be read by others; chmod 600 it"
    )
    (folder / "token").chmod(0o600)
    assert reference.inspect() is None
    assert secret(folder, command=["touch", str(folder / "ran")]).inspect() is None
    assert not (folder / "ran").exists()
    with pytest.raises(ConfigError, match="command gone-program: no such program"):
        secret(folder, command=["gone-program"]).inspect()
    with pytest.raises(ConfigError, match="is not set"):
        secret(folder, env="GONE").inspect()
    monkeypatch.setenv("THERE", "x")
    assert secret(folder, env="THERE").inspect() is None


def test_the_schema_has_the_four_forms() -> None:
    schema = Settings.model_json_schema()["properties"]["token"]
    assert [form["required"] for form in schema["oneOf"]] == [
        ["env"],
        ["file"],
        ["command"],
        ["credential"],
    ]


def test_other_peoples_secrets_are_masked_too() -> None:
    table = {
        "api_token": "hunter2",
        "Password": "hunter2",
        "url": "https://me:hunter2@example.org/x",
        "key": TypeAdapter(SecretStr).validate_python("hunter2"),
        "tokens": 3,
        "password_file": "/etc/passwords",
    }
    assert values.plain(table) == {
        "api_token": "***",
        "Password": "***",
        "url": "https://me:***@example.org/x",
        "key": "**********",
        "tokens": 3,
        "password_file": "/etc/passwords",
    }


def test_values_inside_lists_and_tables_are_found_placed_and_revealed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deep(Frozen):
        tokens: tuple[Secret, ...]
        named: dict[str, Secret]
        files: dict[str, tuple[Path, ...]]

    monkeypatch.setenv("A", "hunter2")
    deep = Deep.model_validate(
        {"tokens": [{"env": "A"}], "named": {"x y": {"file": "f"}}, "files": {"a": ["b", "/c"]}}
    )
    placed = values.anchored(deep, folder, "services.wiki")
    assert [key for key, _ in values.secrets_in(placed, "services.wiki")] == [
        "services.wiki.tokens[0]",
        'services.wiki.named."x y"',
    ]
    assert placed.files == {"a": (folder / "b", Path("/c"))}
    assert placed.named["x y"].reference == {"file": f"{folder}/f"}
    assert values.revealed(placed.tokens) == ("hunter2",)
