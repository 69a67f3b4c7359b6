"""`[notify]` as it is written, and what is said when it is written wrongly."""

from pathlib import Path

import pytest

from svcctl.config.load import load
from svcctl.config.notify import is_address
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError

MAIL = '[notify.mail]\nhost = "mail.example.org"\nsender = "svcctl@example.org"\n'


def read(folder: Path, config: str) -> Settings:
    path = folder / "svcctl.toml"
    path.write_text(config, encoding="utf-8")
    return load(path)


@pytest.mark.parametrize(
    ("more", "port"),
    [("", 587), ('security = "tls"', 465), ('security = "none"', 25), ("port = 2525", 2525)],
)
def test_the_port_follows_from_the_security(tmp_path: Path, more: str, port: int) -> None:
    notify = read(tmp_path, f'[notify]\ndeliver = "mail"\n{MAIL}{more}\n').notify
    assert notify
    assert notify.mail
    assert notify.mail.effective_port == port


def test_files_are_beside_the_configuration(tmp_path: Path) -> None:
    text = f'[notify]\ndeliver = "mail"\nfile = "n.ndjson"\n{MAIL}ca_file = "ca.pem"\n'
    text += 'username = "u"\npassword = { file = "mail.password" }\n'
    settings = read(tmp_path, text)
    (tmp_path / "mail.password").write_text("geheim\n")
    notify = settings.notify
    assert notify
    assert notify.mail
    assert notify.mail.password
    assert (notify.file, notify.mail.ca_file) == (tmp_path / "n.ndjson", tmp_path / "ca.pem")
    assert notify.mail.password.reveal() == "geheim"
    assert [str(warning) for warning in settings.warnings()] == [
        "notify.operators: nobody is told when a run fails or removals are held; "
        'name somebody, like ["ops@example.org"]',
        f"notify.mail.ca_file: {tmp_path}/ca.pem does not exist; mail needs it",
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[notify]\n", "notify.deliver: missing; mail: by the server in notify.mail; file: "),
        ('[notify]\ndeliver = "pigeon"\n', 'notify.deliver: must be "mail" or "file"'),
        ('[notify]\ndeliver = "mail"\n', "notify.mail: missing; it needs at least host and sender"),
        ('[notify]\ndeliver = "file"\n', "notify.file: missing; name a file"),
        (
            '[notify]\ndeliver = "file"\nfile = "f"\noperators = ["ops"]\n',
            "notify.operators[0]: not an e-mail address; write it like ops@example.org",
        ),
        (
            '[notify]\ndeliver = "file"\nfile = "f"\nsubject_prefix = "a\\r\\nBcc: b@c.de"\n',
            "notify.subject_prefix: must be at most 60 printable characters",
        ),
        (
            '[notify]\ndeliver = "mail"\n[notify.mail]\nhost = "h"\n',
            "notify.mail.sender: missing; the address that messages come from",
        ),
        (
            f'[notify]\ndeliver = "mail"\n{MAIL}username = "u"\n',
            "notify.mail.password: missing; say where",
        ),
        (
            f'[notify]\ndeliver = "mail"\n{MAIL}password = {{ env = "P" }}\n',
            "notify.mail.username: missing; a password needs one",
        ),
        (
            f'[notify]\ndeliver = "mail"\n{MAIL}password = "geheim"\nusername = "u"\n',
            "notify.mail.password: a secret has no place in the configuration",
        ),
        (
            f'[notify]\ndeliver = "mail"\n{MAIL}password = {{ env = "P" }}\nusername = "u"\n'
            'security = "none"\n',
            "notify.mail.security: the password would be readable on its way; write",
        ),
        (
            f'[notify]\ndeliver = "mail"\n{MAIL}timeout = "1h"\n',
            "notify.mail.timeout: must be from 1s to 10m",
        ),
        (
            f'[notify]\ndeliver = "mail"\n{MAIL}'.replace("mail.example.org", "a b"),
            "notify.mail.host: not a host; write it like mail.example.org",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, config: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, config)
    (problem,) = error.value.problems
    assert problem.startswith(f"{tmp_path}/svcctl.toml: {said}")
    assert "geheim" not in problem


@pytest.mark.parametrize(
    "text", ["a@b", "ada.b+c@mail.example.org", "o'neill@example.org", f"{'a' * 64}@example.org"]
)
def test_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "ada@@example.org",
        "a b@example.org",
        ".ada@example.org",
        "ada.@example.org",
        "a..b@example.org",
        "ada@-example.org",
        "ada@example..org",
        "ada@example.org\n",
        "ada@example.org, bob@example.org",
        "Ada <ada@example.org>",
        '"ada"@example.org',
        "ada@[127.0.0.1]",
        "ädä@example.org",
        "ada@exämple.org",
        "ada@example.org\x00",
        f"{'a' * 65}@example.org",
        f"ada@{'a.' * 150}org",
    ],
)
def test_no_address(text: str) -> None:
    assert not is_address(text)
