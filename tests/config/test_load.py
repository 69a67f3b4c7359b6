"""Reading the file: where it is looked for, and what is said when something is wrong with it."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from svcctl.config.load import MAX_BYTES, MAX_DEPTH, load
from svcctl.config.settings import Settings
from svcctl.config.source import CsvSource, JsonSource
from svcctl.errors import ConfigError, ExitCode

Configured = Callable[[str], Settings]


def problems(configured: Configured, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        configured(text)
    assert raised.value.exit_code is ExitCode.CONFIG
    return [problem.removeprefix("svcctl.toml: ") for problem in raised.value.problems]


# Where it is


def test_an_empty_file_is_a_configuration(configured: Configured, folder: Path) -> None:
    settings = configured("")
    assert settings.path == folder / "svcctl.toml"
    assert settings.database_url == f"sqlite:///{folder}/svcctl.db"
    assert [name for name, _ in settings.state_rules()] == ["Guest"]


def test_without_any_file_it_says_where_it_looked_and_how_to_make_one(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no configuration: none of svcctl\.toml, .* exists"
    ) as e:
        load(None)
    assert "`svcctl init` writes one" in (e.value.hint or "")
    assert e.value.exit_code is ExitCode.CONFIG


def test_the_order_is_variable_then_here_then_user_then_system(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        "variable": folder / "elsewhere" / "my.toml",
        "here": folder / "svcctl.toml",
        "user": folder / "home" / ".config" / "svcctl" / "svcctl.toml",
        "system": folder / "etc" / "svcctl" / "svcctl.toml",
    }
    monkeypatch.setenv("SVCCTL_CONFIG", str(places["variable"]))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(folder / "etc"))
    for path in places.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert load(None).path == places["variable"]
    monkeypatch.delenv("SVCCTL_CONFIG")
    for path in [places["here"], places["user"], places["system"]]:
        assert load(None).path == path
        path.unlink()


def test_a_file_that_was_named_must_exist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "svcctl.toml").write_text("")
    monkeypatch.setenv("SVCCTL_CONFIG", "gone.toml")
    with pytest.raises(ConfigError, match=r"^gone\.toml: no such file$"):
        load(None)


def test_a_dangling_link_is_not_passed_over(folder: Path) -> None:
    (folder / "svcctl.toml").symlink_to("gone")
    user = folder / "home" / ".config" / "svcctl" / "svcctl.toml"
    user.parent.mkdir(parents=True)
    user.write_text("")
    with pytest.raises(ConfigError, match=r"^svcctl\.toml: no such file$"):
        load(None)


def test_a_strangers_file_in_a_shared_folder_is_only_used_when_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "svcctl.toml"
    path.write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if os.getuid() == 0:
        os.chown(path, 54321, -1)
    load(None)
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="belongs to someone else") as raised:
        load(None)
    assert raised.value.hint == "if you trust it, say so: --config svcctl.toml"
    assert load(Path("svcctl.toml")).path == path


@pytest.mark.parametrize(
    ("path", "reason"), [(".", "is a directory"), ("x" * 300, "file name too long")]
)
def test_what_cannot_be_read_is_named_with_the_reason(folder: Path, path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        load(Path(path))
    assert raised.value.hint


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(folder: Path) -> None:
    (folder / "svcctl.toml").touch(mode=0o000)
    with pytest.raises(ConfigError, match="permission denied"):
        load(None)


# Not TOML


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('database = "x\n', "svcctl.toml:1:14"),
        ("\n[services.wiki\nhook = 1", "svcctl.toml:2:15"),
        ("a = 1\na = 2", "svcctl.toml:2:6"),
        ("a = nan1", "svcctl.toml:1:8"),
    ],
)
def test_broken_toml_is_named_with_file_line_and_column(
    configured: Configured, text: str, place: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(text)
    assert raised.value.message.startswith(f"{place}: ")
    assert raised.value.hint


def test_the_text_of_a_broken_file_is_in_no_traceback(configured: Configured) -> None:
    with pytest.raises(ConfigError) as raised:
        configured('password = "hunter2"\n[broken')
    assert raised.value.__context__ is None
    assert "hunter2" not in str(raised.value)


def test_a_file_that_is_not_utf_8_is_named_with_the_line(folder: Path) -> None:
    (folder / "svcctl.toml").write_bytes(b'database = "x"\n# caf\xe9\n')
    with pytest.raises(ConfigError, match=r"^svcctl\.toml:2: not UTF-8$") as raised:
        load(None)
    assert raised.value.hint == "save the file as UTF-8"


def test_a_byte_order_mark_is_no_error(folder: Path) -> None:
    (folder / "svcctl.toml").write_bytes(b'\xef\xbb\xbfdatabase = "x.db"\n')
    assert load(None).database == "x.db"


def test_a_5_mb_file_is_refused_before_it_is_parsed(folder: Path) -> None:
    (folder / "svcctl.toml").write_text("# " + "x" * 5_000_000)
    with pytest.raises(ConfigError, match=r"^svcctl\.toml: more than 4 MiB$"):
        load(None)
    (folder / "svcctl.toml").write_text("#" * MAX_BYTES)
    load(None)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 200 + "]" * 200,
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 100_000,
        "a" + ".a" * 500 + " = 1",
        "a" + ".a" * 100_000 + " = 1",
        "[" + "a." * 900 + "a]",
        "[services.x" + ".a" * MAX_DEPTH + "]\n",
    ],
)
def test_nested_bombs_are_refused(configured: Configured, text: str) -> None:
    with pytest.raises(ConfigError):
        configured(text)


# Wrong content


def test_an_unknown_key_is_named_with_the_one_that_was_meant(configured: Configured) -> None:
    assert problems(configured, 'databse = "x"') == ["databse: unknown key; did you mean database?"]
    assert problems(configured, "[states.Blue]\npriority = 1\nuser = []") == [
        "states.Blue.user: unknown key; did you mean users?"
    ]
    source = '[directory.sources.hr]\ntype = "json"\npath = "x"\ndelimiter = ";"'
    assert problems(configured, source) == [
        "directory.sources.hr.delimiter: unknown key; "
        "known: active, attributes, groups, id, path, type, username"
    ]


def test_all_problems_are_said_at_once(configured: Configured) -> None:
    text = """
        database = 3
        default_name_format = "{office_nik}"
        colour = "red"
        [directory]
        attributes = ["Office Phone", "username", "office_nick"]
        limits = { removals = "120%" }
        [directory.sources.HR]
        type = "cvs"
        [states.Member]
        public = true
        [services.wiki]
        access = { states = ["Member"] }
        [services."Big Wiki"]
        hook = "htpasswd"
        username_format = "{username"
        name_format = "{0}"
        name_formats = { Membr = "x", Member = "{user.password}" }
        attributes = ["department"]
        access = { states = ["Blu"] }
    """
    wiki = 'services."Big Wiki"'
    assert problems(configured, text) == [
        "database: must be text, not a whole number",
        "directory.sources.HR.type: unknown; did you mean csv?",
        'directory.limits.removals: must be a number of accounts, like 12, or a share, like "15%"',
        "states.Member.priority: missing; the highest one that matches is the user's state",
        "colour: unknown key; "
        "known: audit, backends, database, default_name_format, directory, log, monitor, notify, "
        "pipelines, protected, services, states, …",
        "default_name_format: {office_nik}: no such placeholder; did you mean {office_nick}?",
        "directory.attributes: not a name: Office Phone; write it like office_phone",
        "directory.attributes: username has a meaning of its own; choose another name",
        'services.wiki.hook: missing; name the kind of service, like "htpasswd"',
        f"{wiki}: not a name for a service; write it like wiki or team-chat",
        f"{wiki}.username_format: position 1: '{{' is not closed; write '{{{{' for a brace",
        f"{wiki}.name_format: position 1: {{0}}: a positional field; "
        "allowed: names, like {character_name}",
        f"{wiki}.name_formats: no such state: Membr; did you mean Member?",
        f"{wiki}.name_formats.Member: position 1: {{user.password}}: "
        "attributes and items of a value are out of reach; allowed: a name alone",
        f"{wiki}.access.states: no such state: Blu; known: Member",
        f"{wiki}.attributes: no such attribute: department; add it to directory.attributes",
    ]


def test_a_secret_value_is_in_no_message(configured: Configured) -> None:
    text = """
        database = ["hunter2"]
        protected = "hunter2"
        directory = "hunter2"
        [states.A]
        priority = "hunter2"
    """
    with pytest.raises(ConfigError) as raised:
        configured(text)
    assert "hunter2" not in repr((raised.value.args, raised.value.problems))
    assert raised.value.__context__ is None
    assert len(raised.value.problems) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protected = 3", "protected: must be a list, not a whole number"),
        ("protected = [3]", "protected[0]: must be text, not a whole number"),
        ("states = []", "states: must be a table, not a list"),
        ("[states]\nA = 1", "states.A: must be a table, not a whole number"),
        ('[states."a\\nb"]\npriority=1\npublic=true', 'states."a\\nb": not a name for a state; '),
        ("[services]\nwiki = 'htpasswd'", "services.wiki: must be a table, not text"),
        ("[services.wiki]\nhook = 3", "services.wiki.hook: missing; name the kind of service"),
        ("[services.Wiki]\nhook = 'x'", "services.Wiki: not a name for a service; write it like"),
        ("[directory.sources.a]\npath='x'", "directory.sources.a.type: missing"),
        (
            "[directory.sources.a]\ntype='csv'",
            "directory.sources.a.path: missing; the file; a relative path starts at",
        ),
        (
            "[directory.sources.a]\ntype='csv'\npath='x'\nencoding='klingon'",
            "directory.sources.a.encoding: no such encoding; write it like utf-8 or cp1252",
        ),
        (
            "[directory.sources.a]\ntype='csv'\npath='x'\ndelimiter='::'",
            "directory.sources.a.delimiter: string must have at most 1 character",
        ),
        (
            "[directory.sources.a]\ntype='csv'\npath='x'\nattributes={tel='fone'}",
            "directory.sources.a.attributes.tel: no such attribute: fone; "
            "add it to directory.attributes",
        ),
        (
            "[directory.sources.a]\ntype='csv'\npath='x'\nattributes={tel='emial'}",
            "directory.sources.a.attributes.tel: no such attribute: emial; did you mean email?",
        ),
        ("[states.Guest]\npriority=1", "states.Guest: no state is public; set public = true"),
        (
            "[states.A]\npriority=1\n[states.B]\npriority=1",
            "states.B.priority: 1 is also the priority of A; one of them must be higher",
        ),
        (
            "[states.A]\npriority=1\nattributes={corpname=['x']}",
            "states.A.attributes: no such attribute: corpname; did you mean corp_name?",
        ),
        ("database = ''", "database: not a path"),
        ("directory.limits.removals = -1", "directory.limits.removals: must be a number of"),
        ("directory.limits.removals = '101%'", "directory.limits.removals: must be a number of"),
        ("directory.limits.removals = 1.5", "directory.limits.removals: must be a number of"),
        ("directory.limits.removals = true", "directory.limits.removals: must be a number of"),
    ],
)
def test_each_mistake_has_its_message(configured: Configured, text: str, expected: str) -> None:
    (problem,) = problems(configured, text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("12", 12), ('"12"', 12), ('"15 %"', "15%"), ("0", 0), ('"100%"', "100%")],
)
def test_a_limit_is_a_number_or_a_share(
    configured: Configured, written: str, meant: int | str
) -> None:
    settings = configured(f"directory.limits.removals = {written}")
    assert settings.directory.limits.removals == meant


# What comes out


def test_paths_start_at_the_folder_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "svcctl.toml").write_text("""
        [directory.sources]
        a = { type = "csv", path = "people.csv" }
        b = { type = "json", path = "../b.json", groups = "teams" }
        c = { type = "json", path = "/srv/c.json" }
        d = { type = "json", path = "~/d.json" }
        e = { type = "sql", query = "x", url = "sqlite:///e.db" }
        f = { type = "sql", query = "x", url = "sqlite:////srv/f.db" }
        g = { type = "sql", query = "x", url = "sqlite:///~/g?.db" }
        h = { type = "sql", query = "x", url = "mysql://me@db:3306/x?charset=utf8mb4" }
    """)
    monkeypatch.chdir("/")
    settings = load(folder / "etc" / "svcctl.toml")
    sources = settings.directory.sources
    assert [source.whence for source in sources.values()] == [
        f"{folder}/etc/people.csv",
        f"{folder}/etc/../b.json",
        "/srv/c.json",
        f"{folder}/home/d.json",
        f"sqlite:///{folder}/etc/e.db",
        "sqlite:////srv/f.db",
        f"sqlite:///{folder}/home/g?.db",
        "mysql://me@db:3306/x?charset=utf8mb4",
    ]
    assert isinstance(sources["a"], CsvSource)
    assert isinstance(sources["b"], JsonSource)
    assert sources["b"].model_fields_set == {"type", "path", "groups"}
    assert settings.database_url == f"sqlite:///{folder}/etc/svcctl.db"


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("x.db", "sqlite:///{folder}/x.db"),
        ("/var/lib/x.db", "sqlite:////var/lib/x.db"),
        ("~/x.db", "sqlite:///{folder}/home/x.db"),
        ("sqlite:///x.db", "sqlite:///{folder}/x.db"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgres://me@db/x", "postgresql+psycopg://me@db/x"),
        ("postgresql://db/x?sslmode=require", "postgresql+psycopg://db/x?sslmode=require"),
        ("postgresql+psycopg://db/x", "postgresql+psycopg://db/x"),
    ],
)
def test_the_database_is_a_file_near_the_configuration_or_a_url(
    configured: Configured, folder: Path, written: str, url: str
) -> None:
    assert configured(f'database = "{written}"').database_url == url.format(folder=folder)


def test_states_come_highest_first_with_a_guest_below_all(configured: Configured) -> None:
    rules = "[states.A]\npriority = 5\n[states.B]\npriority = 9\n[states.C]\npriority = -2\n"
    found = configured(rules).state_rules()
    assert [(name, rule.priority) for name, rule in found] == [
        ("B", 9),
        ("A", 5),
        ("C", -2),
        ("Guest", -3),
    ]
    assert found[-1][1].public
    own = configured(rules + "[states.Everybody]\npriority = -5\npublic = true").state_rules()
    assert own[-1][0] == "Everybody"


def test_attribute_values_may_be_written_as_numbers(configured: Configured) -> None:
    rule = "[states.A]\npriority = 1\nattributes = { corp_id = [98000001, '7', true] }"
    ((_, first), _) = configured(rule).state_rules()
    assert first.attributes == {"corp_id": frozenset({"98000001", "7", "true"})}


def test_the_fingerprint_tells_what_is_said_not_how(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = configured("""
        protected = ["a", "b", "c"]
        [services.wiki]
        hook = "x:Y"
        token = { env = "TOKEN" }
        [services.lab]
        hook = "x:Z"
    """)
    same = configured("""
        # the same, written another way
        default_name_format = "{character_name}"
        protected = ["c", "b", "a"]
        services.lab = { hook = "x:Z" }
        services.wiki = { token = { env = "TOKEN" }, hook = "x:Y" }
    """)
    monkeypatch.setenv("TOKEN", "hunter2")
    assert one.fingerprint() == same.fingerprint()
    assert len(one.fingerprint()) == 64
    other = configured('protected = ["a", "b"]')
    assert other.fingerprint() != one.fingerprint()


def test_the_fingerprint_is_the_same_in_another_process(
    configured: Configured, folder: Path
) -> None:
    import subprocess

    settings = configured(f"protected = {[f'user{i}' for i in range(50)]}")
    program = "from svcctl.config.load import load; print(load().fingerprint())"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout.strip() == settings.fingerprint()


def test_settings_cannot_be_changed(configured: Configured) -> None:
    settings = configured("")
    with pytest.raises(ValueError, match="frozen"):
        settings.database = "other"  # type: ignore[misc]


def test_platformdirs_is_only_imported_when_nothing_nearer_is_found(
    configured: Configured, folder: Path
) -> None:
    import subprocess

    configured("")
    program = (
        "import sys; from svcctl.config.load import load; load();"
        "print([m for m in ('platformdirs', 'sqlalchemy', 'requests', 'rich')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"key{number} = 1" for number in range(50_000)),
        "\n".join(f"[states.s{number}]\npriority = 1" for number in range(20_000)),
        "[services.a]\nhook = 'x'\naccess = { states = [" + "'b', " * 50_000 + "] }",
        "[services.a]\nhook = 'x'\naccess = { states = ['" + "b" * 1_000_000 + "'] }",
        "\n".join(
            f"[services.s{number}]\nhook = 'x'\nname_formats = {{ a = '{{x}}' }}"
            for number in range(5_000)
        ),
        "default_name_format = '" + "{" * 1_000_000 + "'",
    ],
)
def test_a_file_full_of_mistakes_keeps_nobody_busy(configured: Configured, text: str) -> None:
    start = time.process_time()
    found = problems(configured, text)
    assert 1 <= len(found) <= 100
    assert max(map(len, found)) < 1000
    assert time.process_time() - start < 5
