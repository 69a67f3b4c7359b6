"""What is private is encrypted for its place in the database, with a key that is not in it."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcctl.config.load import load
from svcctl.config.settings import Settings
from svcctl.errors import ConfigError, StoreError
from svcctl.tripwire import tripwire
from svcctl.vault import Vault

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

PURPOSE = "partial 3f2a"


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def vault(tmp_path: Path) -> Callable[..., Vault]:
    """`vault(config)`: one of a site in `tmp_path`; each call is another process."""

    def build(config: str = "", *, in_use: bool = False, read_only: bool = False) -> Vault:
        (tmp_path / "svcctl.toml").write_text(config, encoding="utf-8")
        loaded = load(tmp_path / "svcctl.toml")
        return Vault(loaded, in_use=lambda: in_use, read_only=read_only)

    return build


def put(path: Path, *keys: str, mode: int = 0o600) -> None:
    path.write_text("".join(f"{each}\n" for each in keys))
    path.chmod(mode)


def test_the_first_text_makes_a_key_that_later_processes_read(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    sealed = vault().seal("a token", PURPOSE)
    assert (tmp_path / "svcctl.key").stat().st_mode & 0o777 == 0o600
    assert vault(in_use=True).unseal(sealed, PURPOSE) == "a token"
    assert not vault().outdated(sealed, PURPOSE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["svcctl.key", "svcctl.toml"]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ('database = "data/svcctl.db"', "data/svcctl.key"),
        ('database = "postgresql://localhost/svcctl"', "svcctl.key"),
        ('database = "sqlite:///:memory:"', "svcctl.key"),
    ],
)
def test_the_key_lies_beside_the_database_file_or_else_the_configuration(
    vault: Callable[..., Vault], tmp_path: Path, config: str, place: str
) -> None:
    (tmp_path / "data").mkdir()
    vault(config).seal("x", PURPOSE)
    assert (tmp_path / place).is_file()


@settings(max_examples=30, deadline=None)
@given(st.text(), st.text())
def test_every_text_comes_back_and_nothing_of_it_shows(text: str, purpose: str) -> None:
    one = Vault(Settings(), in_use=lambda: False, read_only=True)
    sealed = one.seal(text, purpose)
    assert one.unseal(sealed, purpose) == text
    assert one.seal(text, purpose) != sealed
    assert len(text) < 5 or text not in sealed


def test_a_text_opens_only_where_it_belongs(vault: Callable[..., Vault]) -> None:
    one = vault()
    sealed = one.seal("a token", "partial 3f2a")
    with pytest.raises(StoreError, match="partial 3f2b: does not decrypt: it was changed, or copi"):
        one.unseal(sealed, "partial 3f2b")


@pytest.mark.parametrize("place", range(0, 150, 7))
def test_a_changed_text_does_not_open(vault: Callable[..., Vault], place: int) -> None:
    one = vault()
    sealed = one.seal("a token", PURPOSE)
    place %= len(sealed)
    changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
    with pytest.raises((StoreError, ConfigError), match="partial 3f2a"):
        one.unseal(changed, PURPOSE)


@pytest.mark.parametrize(
    "text", ["", "a token", "1.2", "1.0.x.y", "2.00000000.gAAA", "1..", "ä.ö.ü"]
)
def test_what_was_never_encrypted_is_refused(vault: Callable[..., Vault], text: str) -> None:
    one = vault()
    one.seal("x", PURPOSE)
    with pytest.raises((StoreError, ConfigError), match="partial 3f2a"):
        one.unseal(text, PURPOSE)


def test_a_new_key_before_the_old_one_encrypts_and_both_decrypt(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    old, new = key(), key()
    put(tmp_path / "svcctl.key", old)
    before = vault().seal("before", PURPOSE)
    put(tmp_path / "svcctl.key", new, old)
    both = vault()
    after = both.seal("after", PURPOSE)
    assert both.unseal(before, PURPOSE) == "before"
    assert (both.outdated(before, PURPOSE), both.outdated(after, PURPOSE)) == (True, False)
    put(tmp_path / "svcctl.key", new)
    assert vault().unseal(after, PURPOSE) == "after"
    with pytest.raises(ConfigError) as raised:
        vault().unseal(before, PURPOSE)
    assert raised.value.message == (
        "vault_key: partial 3f2a was encrypted with a key that is not there any more"
    )
    assert raised.value.hint == "add that key as a further line"


def test_a_key_from_any_place_that_a_secret_may_have(
    vault: Callable[..., Vault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = key(), base64.urlsafe_b64encode(os.urandom(32)).decode()
    put(tmp_path / "mine.key", one, two)
    monkeypatch.setenv("MY_KEY", f"{one}\n{two}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    program = f"print('{one} {two}')"
    sealed = {
        vault(f"vault_key = {place}").seal("x", PURPOSE).split(".")[1]
        for place in (
            '{ file = "mine.key" }',
            '{ env = "MY_KEY" }',
            '{ credential = "mine.key" }',
            f'{{ command = ["{sys.executable}", "-c", "{program}"] }}',
        )
    }
    assert len(sealed) == 1
    assert not (tmp_path / "svcctl.key").exists()


def refusal(act: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(ConfigError) as raised:
        act()
    return raised.value.message, raised.value.hint


def test_a_key_that_is_gone_is_not_replaced_while_something_needs_it(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    path = tmp_path / "svcctl.key"
    lost = (
        f"vault_key: {path}: is missing, and the database has what was encrypted with it",
        "restore it from its copy; a backup of the database does not hold it",
    )
    sealed = vault().seal("x", PURPOSE)
    path.unlink()
    assert refusal(lambda: vault(in_use=True).seal("y", PURPOSE)) == lost
    assert refusal(lambda: vault(in_use=True).unseal(sealed, PURPOSE)) == lost
    assert refusal(lambda: vault(in_use=False).unseal(sealed, PURPOSE)) == lost
    assert not path.exists()


def test_a_place_that_the_configuration_names_is_never_filled(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    message, hint = refusal(lambda: vault('vault_key = { file = "my.key" }').seal("x", PURPOSE))
    assert message == f"vault_key: file {tmp_path}/my.key: no such file or directory"
    assert hint == f"put the value in {tmp_path}/my.key"
    assert not (tmp_path / "my.key").exists()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_a_key_that_others_can_read_is_not_used(
    vault: Callable[..., Vault], tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "svcctl.key"
    put(path, key(), mode=mode)
    assert refusal(lambda: vault().seal("x", PURPOSE)) == (
        f"vault_key: {path} can be read by others",
        "chmod 600 it",
    )


def test_a_key_that_others_can_change_is_not_used(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    put(tmp_path / "svcctl.key", key(), mode=0o620)
    message, _ = refusal(lambda: vault().seal("x", PURPOSE))
    assert message == f"vault_key: file {tmp_path}/svcctl.key: can be changed by others"


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["hunter2"], 1),
        ([" "], 1),
        ([key(), key()[:-1]], 2),
        ([key(), "# the old one"], 2),
        ([base64.b64encode(b"x" * 31).decode()], 1),
        (["é" * 43 + "="], 1),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(
    vault: Callable[..., Vault], tmp_path: Path, lines: list[str], number: int
) -> None:
    put(tmp_path / "svcctl.key", *lines)
    assert refusal(lambda: vault().seal("x", PURPOSE)) == (
        f"vault_key: file {tmp_path}/svcctl.key: line {number} is no key",
        "a key is what `openssl rand -base64 32` prints: 32 random bytes",
    )


def test_an_empty_key_file_is_refused(vault: Callable[..., Vault], tmp_path: Path) -> None:
    put(tmp_path / "svcctl.key")
    message, _ = refusal(lambda: vault().seal("x", PURPOSE))
    assert message == f"vault_key: file {tmp_path}/svcctl.key: is empty"


def test_a_link_that_leads_nowhere_is_not_replaced(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    (tmp_path / "svcctl.key").symlink_to(tmp_path / "usb" / "svcctl.key")
    message, _ = refusal(lambda: vault().seal("x", PURPOSE))
    assert message == f"vault_key: file {tmp_path}/svcctl.key: no such file or directory"


def test_a_folder_that_takes_no_key_is_said(vault: Callable[..., Vault], tmp_path: Path) -> None:
    message, hint = refusal(lambda: vault('database = "none/svcctl.db"').seal("x", PURPOSE))
    assert (
        message
        == f"vault_key: {tmp_path}/none/svcctl.key: cannot be made: no such file or directory"
    )
    assert hint == 'name another place, like { file = "/var/lib/svcctl/vault.key" }'


def test_a_run_that_keeps_nothing_makes_no_key(vault: Callable[..., Vault], tmp_path: Path) -> None:
    one = vault(read_only=True)
    with tripwire("a dry run"):
        assert one.unseal(one.seal("x", PURPOSE), PURPOSE) == "x"
    assert not (tmp_path / "svcctl.key").exists()


def test_a_run_that_keeps_nothing_uses_the_key_that_is_there(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    sealed = vault().seal("x", PURPOSE)
    again = vault(read_only=True)
    with tripwire("a dry run"):
        assert again.unseal(sealed, PURPOSE) == "x"


AT_ONCE = """
import sys
from pathlib import Path
from svcctl.config.load import load
from svcctl.config.settings import Settings
from svcctl.vault import Vault

vault = Vault(load(Path(sys.argv[1])), in_use=lambda: False)
sys.stdin.read()
print(vault.seal("x", "y").split(".")[1])
"""


def test_processes_that_make_the_key_at_once_have_the_same(
    vault: Callable[..., Vault], tmp_path: Path
) -> None:
    vault()
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path / "svcctl.toml")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
    seen = set()
    for process in started:
        with process:
            assert process.stdout
            seen.add(process.stdout.read())
    assert len(seen) == 1
    assert (tmp_path / "svcctl.key").stat().st_nlink == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["svcctl.key", "svcctl.toml"]


# At the front door


def test_the_configuration_shows_where_the_key_is_and_never_the_key(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    one = site('vault_key = { file = "my.key" }\n')
    secret = key()
    put(one.folder / "my.key", secret)
    shown = svcctl("config", "show")
    assert f'vault_key = {{ file = "{one.folder}/my.key" }}' in shown.stdout
    assert secret not in shown.stdout + shown.stderr
    assert svcctl("config", "check", "--secrets").exit_code == 0


def test_a_configuration_is_checked_with_the_key_file_that_it_does_not_name(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    one = site("")
    path = one.folder / "svcctl.key"
    assert "vault_key" not in svcctl("config", "check").stderr
    put(path, key(), mode=0o644)
    checked = svcctl("config", "check")
    assert f"warning: {one.folder}/svcctl.toml: vault_key: {path} can be read by others" in (
        checked.stderr
    )
    path.chmod(0o666)
    checked = svcctl("config", "check")
    assert checked.exit_code == 78
    assert f"vault_key: file {path}: can be changed by others" in checked.stdout


def test_a_key_in_the_configuration_itself_is_refused(
    site: "Callable[[str], Site]", svcctl: "Svcctl"
) -> None:
    one = site("")
    secret = key()
    one.configure(f'vault_key = "{secret}"\n')
    checked = svcctl("config", "check")
    assert checked.exit_code == 78
    assert "vault_key: a secret has no place in the configuration" in checked.stdout
    assert secret not in checked.stdout + checked.stderr
