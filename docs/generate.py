"""Write the pages that say what the code says; a test compares them with what stands there.

Run it (`make docs`) after a change of a command, a setting, an output or a module.
"""
# ruff: noqa: INP001 - a script, not a package

import ast
import enum
import inspect
import io
import json
import tempfile
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import manual
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from svcctl import __version__
from svcctl.cli import app, main
from svcctl.config import http as remote
from svcctl.config import ldap, log, monitor, notify, settings, source
from svcctl.config import pipeline as pipelines
from svcctl.config import service as services
from svcctl.config.load import load
from svcctl.config.secrets import Secret
from svcctl.hooks.declared import Rule
from svcctl.hooks.http import expression, paging, template
from svcctl.hooks.http import settings as http
from svcctl.hooks.registry import available, hook_class, load_hooks
from svcctl.hooks.sql import config as sql
from svcctl.pipeline import definition
from svcctl.pipeline import settings as pipeline_settings
from svcctl.pipeline.step import SURROUNDINGS

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "svcctl"
HELP_WIDTH = 92
# `service` lists what the configured services bring along, which is no reference.
DYNAMIC = ("svcctl", "service")
DYNAMIC_USAGE = "svcctl service NAME [COMMAND]..."

COMMANDS_HEAD = """\
# Commands

What `svcctl COMMAND --help` says. Options before the command (`--config`, `--verbose`, `--quiet`)
go for all of them. Exit codes: [exit-codes.md](exit-codes.md); what `--json` prints:
[output.md](output.md). Options of several commands can also be set by an environment variable,
`SVCCTL_` and the option's name; the others by `SVCCTL_<COMMAND>_<OPTION>`. There is none for
`--yes`, `--all` and `--accept-...`.
"""

CONFIGURATION_HEAD = """\
# Configuration

Every key of `svcctl.toml`, with its default. A complete file with all of them is
[config.example.toml](../../config.example.toml). `svcctl config schema` prints this as a JSON
Schema for editors, hooks of other packages included. A key that is not here is an error.

Looked for in this order: `--config FILE`, `$SVCCTL_CONFIG`, `./svcctl.toml`, the user's
configuration folder, the system's. Relative paths start at the folder of the file. A duration is
written like `90s`, `13m`, `2h`, `30d`, `4w` or `1h30m`. A secret is written as
`{ env = "NAME" }`, `{ file = "PATH" }`, `{ command = ["PROGRAM", "ARGUMENT"] }` or
`{ credential = "NAME" }`, never as text.
"""


def commands_page() -> str:
    """Every command's help."""
    root = typer.main.get_command(app)
    parts = [COMMANDS_HEAD]
    for words, text in _helps(root):
        parts.append(f"## {' '.join(words)}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _commands(
    command: Any, words: tuple[str, ...] = ("svcctl",), parent: Any = None
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    context = command.make_context(
        words[-1], [], parent=parent, resilient_parsing=True, terminal_width=HELP_WIDTH
    )
    yield words, command, context
    if words != DYNAMIC and hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), (*words, name), context)


def _helps(root: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    for words, command, context in _commands(root):
        if words == DYNAMIC:
            text = f"Usage: {DYNAMIC_USAGE}\n\n  {command.help}"
        else:
            text = command.get_help(context)
        yield words, "\n".join(line.rstrip() for line in text.splitlines())


# Manual pages.

FILES = (
    ("./svcctl.toml", "The configuration, where neither --config nor SVCCTL_CONFIG names one."),
    ("~/.config/svcctl/svcctl.toml", "The user's, where there is none in this folder."),
    ("/etc/xdg/svcctl/svcctl.toml", "The system's, where there is none of the user's either."),
    ("svcctl.db", "The database, beside the configuration unless it names another."),
    ("svcctl.key", "The key of what is private in the database; keep a copy elsewhere."),
)
SECRETS = """\
A secret is written as { env = "NAME" }, { file = "PATH" }, { command = ["PROGRAM", "ARGUMENT"] }
or { credential = "NAME" }, never as text. A duration is written like 90s, 13m, 2h, 30d, 4w or
1h30m. Relative paths start at the folder of the file. A key that is not here is an error.

Services, sources and pipelines have names of yours, here NAME."""


def commands_manual() -> str:
    """svcctl(1): every command with its options."""
    (root, *others) = _commands(typer.main.get_command(app))
    lines = [*manual.command(*root), manual.heading("Commands")]
    for words, command, context in others:
        if words == DYNAMIC:
            lines += [manual.heading(" ".join(words), "SS"), manual.escaped(DYNAMIC_USAGE), ".PP"]
            lines.append(manual.line(str(command.help)))
        else:
            lines += manual.command(words, command, context)
    codes = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    table = [row.strip("| ").split(" | ") for row in codes.splitlines() if row.startswith("| ")]
    lines.append(manual.heading("Exit status"))
    lines += manual.items((code, meaning) for code, _, meaning in table[1:])
    lines.append(manual.heading("Environment"))
    lines += manual.paragraphs(COMMANDS_HEAD.split("\n\n")[1].split("[output.md](output.md). ")[1])
    lines.append(manual.heading("Files"))
    lines += manual.items(FILES)
    lines += [manual.heading("See also"), "\\fBsvcctl.toml\\fR(5)"]
    summary = "keep accounts on many services in step with one local directory"
    return manual.page("svcctl", 1, summary, __version__, lines)


def settings_manual() -> str:
    """svcctl.toml(5): every key of the configuration."""
    lines = [manual.heading("Description"), *manual.paragraphs(SECRETS), manual.heading("Tables")]
    for heading, note, model, fields in _tables():
        lines.append(manual.heading(heading, "SS"))
        doc = inspect.cleandoc(model.__doc__ or "")
        lines += manual.paragraphs("\n\n".join(filter(None, (doc, note))))
        for key, field in fields.items():
            about = [_kind(field.annotation), _default(field) and f"default {_default(field)}"]
            told = ", ".join(filter(None, about)).replace("default (required)", "required")
            lines += manual.items([(field.alias or key, f"{told}. {field.description or ''}")])
    lines += [manual.heading("See also"), "\\fBsvcctl\\fR(1)"]
    return manual.page("svcctl.toml", 5, "the configuration of svcctl", __version__, lines)


def configuration_page() -> str:
    """Every setting's type, default and meaning."""
    return "\n".join([CONFIGURATION_HEAD, *(_section(*table) for table in _tables())])


def _tables() -> Iterator[tuple[str, str, type[BaseModel], Mapping[str, FieldInfo]]]:
    """Each table: its heading, a note on it, its model, and which of its keys are meant."""
    tables: list[tuple[str, str, type[BaseModel]]] = [
        ("The file itself", "", settings.Settings),
        ("[directory]", "", settings.Directory),
        ("[directory.limits]", "", services.Limits),
        ('[directory.sources.NAME], type = "csv"', "", source.CsvSource),
        ('[directory.sources.NAME], type = "json"', "", source.JsonSource),
        ('[directory.sources.NAME], type = "sql"', "", source.SqlSource),
        ('[directory.sources.NAME], type = "scim"', "", source.ScimSource),
        ('[directory.sources.NAME], type = "ldap"', "", source.LdapSource),
        ("[states.NAME]", "", settings.StateRule),
        ("[notify]", "", notify.Notify),
        ("[notify.mail]", "", notify.Mail),
        ("[monitor]", "", monitor.Monitor),
        ("[log]", "", log.Log),
        ("[services.NAME]", "", services.HookConfig),
        ("[services.NAME.access]", "", services.Access),
        ("[services.NAME.groups]", "", services.Groups),
        (
            "[services.NAME.removal]",
            '`removal = "delete"` is short for `{ mode = "delete" }`.',
            services.Removal,
        ),
        ("[services.NAME.limits]", "", services.Limits),
        ("[pipelines.NAME]", "", pipelines.Pipeline),
        ("[backends.NAME]", "", pipelines.Backend),
        ("http, of a service or a source that is reached over HTTP", "", remote.Http),
        ("basic, of the same", "", remote.Basic),
        ("oauth, of the same", "", remote.OAuth),
        ("tls, of a service or a source that is reached over LDAP", "", ldap.Tls),
    ]
    for heading, note, model in tables:
        yield heading, note, model, model.model_fields
    described: list[tuple[str, type[BaseModel], type[BaseModel] | None]] = [
        ("username_rule, nickname_rule and group_rule, of http, sql and command", Rule, None),
        ('[services.NAME.account], hook = "http"', http.Shape, None),
        ('[services.NAME.requests], hook = "http"', http.Requests, None),
        ("A request of http", http.Request, None),
        ("first, of a request of http", http.FirstStep, http.Step),
        ("list_accounts, find_account, find_by_external_id, of http", http.Accounts, http.Request),
        ("get_account, of http", http.Item, http.Request),
        ("create_account, of http", http.Create, http.Write),
        ("list_groups, of http", http.GroupItems, http.Request),
        ("groups_of, of http", http.GroupsOf, http.Request),
        *(
            (f'paging of http, type = "{kind}"', model, None)
            for kind, model in (
                ("offset", paging.OffsetPaging),
                ("page", paging.NumberPaging),
                ("cursor", paging.CursorPaging),
                ("link", paging.LinkPaging),
            )
        ),
        ("errors, of http", http.ErrorRule, None),
        ("login, of http", http.Login, None),
        ('[services.NAME.statements], hook = "sql"', sql.Statements, None),
        ("A statement of sql, where it is more than a text", sql.Statement, None),
        ("password_hash, of sql", sql.PasswordHash, None),
    ]
    # Packages that happen to be installed have their own pages.
    for name in sorted(name for name, packages in available().items() if packages == ["svcctl"]):
        model = hook_class(name).config_class
        own = {
            key: field
            for key, field in model.model_fields.items()
            if key not in services.HookConfig.model_fields
        }
        note = "Besides the keys that every service has:"
        yield f'[services.NAME], hook = "{name}"', note, model, own
    for heading, model, base in described:
        known = {} if base is None else base.model_fields
        own = {key: field for key, field in model.model_fields.items() if key not in known}
        note = "Besides the keys of a request:" if base is not None else ""
        yield heading, note, model, own


def _section(
    heading: str, note: str, model: type[BaseModel], fields: Mapping[str, FieldInfo]
) -> str:
    lines = [f"## {heading}", "", inspect.cleandoc(model.__doc__ or ""), ""]
    if note:
        lines += [note, ""]
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in fields.items():
        cells = (
            f"`{field.alias or key}`",
            _kind(field.annotation),
            _default(field),
            field.description or "",
        )
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_KINDS: Mapping[Any, str] = {
    Any: "value",
    str: "text",
    int: "number",
    float: "number",
    bool: "`true` or `false`",
    Path: "path",
    timedelta: "duration",
    Secret: "secret",
    source.DatabaseUrl: "URL",
    sql.SqlUrl: "URL",
    expression.Expression: "expression",
    template.Template: "text",
    types.NoneType: "",
}


def _kind(annotation: Any) -> str:
    """A type in the words of somebody who writes TOML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _KINDS:
        return _KINDS[annotation]
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind for part in inner if (kind := _kind(part))))
    if origin in (frozenset, tuple, list, set):
        return f"list of {_plural(_kind(inner[0]))}"
    if origin is dict:
        return f"table of {_plural(_kind(inner[1]))}"
    if hasattr(annotation, "__metadata__"):
        return _kind(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f'`"{member.value}"`' for member in annotation)
    return "any value"


def _plural(kind: str) -> str:
    return f"{kind}s" if kind in ("text", "number", "table", "secret", "expression") else kind


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, (frozenset, tuple, list)):
        return "`[]`" if not value else f"`{sorted(value)}`"
    if isinstance(value, Mapping):
        return "`{}`" if not value else f"`{dict(value)}`"
    return f"`{value}`"


# What commands print as JSON: found out by running them on a small site.

OUTPUT_HEAD = """\
# Output

stdout is the answer, stderr is talk. `--format` chooses between `text`, `json`, `ndjson` and `csv`
where the answer is a table or a report; `--json` is short for `--format json`. Text is for people
and may change; what stands here does not without a new version number.

- **json** is one document: `{"schema": "svcctl.KIND/VERSION", ...}`. A table has its rows under
  `rows`. A key may be added within a version; none is renamed, removed or given another meaning.
- **ndjson** is one object per line: the rows of a table, or the events of a run as they happen.
  An event has `event`: `pull`, `change`, `operation`, `account`,
  `finding` or, last, `summary`.
- **csv** has the columns of the text table. A cell that a spreadsheet would take for a formula
  begins with an apostrophe.

Moments are UTC, like `2026-11-22T20:40:22Z`. Passwords are in `svcctl.report/1` of
`accounts reset-password`, once, and nowhere else.
"""

AUDIT_LINES = """\
## svcctl.audit/1

the record, one object a line: `svcctl audit export`

- `export`, the first line, with `event`, `schema`, `at`, `complete`, `after`: the entry that came
  before, as a head. `complete` is false where `--service` or `--user` left rows out
- `entry`, with `event`, `id`, `at`, `content`, `head`; behind it the rows that it names
- `operation`, with `event`, `id`, `run_id`, `service`, `user_id`, `account_id`, `seq`, `verb`,
  `actor`, `removal`, `notify`, `looked`, `status`, `attempts`, `started_at`, `ended_at`, `undo_of`,
  `args`, `before`, `after`, `reason`, `error`, `salt`, `commitment`, `user`. Of `user`, today's
  username, the chain knows nothing: it is not proven
- `run`, with `event`, `id`, `actor`, `host`, `pid`, `started_at`, `ended_at`, `exit_code`,
  `command`, `summary`, `salt`, `commitment`
- `end`, the last line, with `event`, `entries`, `operations`, `runs`, `head`

Who wants to verify it without svcctl: H(a, b, …) is SHA-256, in lower-case hexadecimal, over the
values as UTF-8 text with a NUL between them; nothing for null, 1 and 0 for true and false, and for
`args`, `before`, `after`, `summary` and `content` JSON with sorted keys and without spaces. Then

- `commitment` = H(`salt`, `args`, `before`, `after`, `reason`, `error`) of an operation,
  H(`salt`, `command`, `summary`) of a run. It is in the line only when the salt is gone, because
  somebody was forgotten; then the texts are not those that it was made of
- the digest of an operation = H("operations", `id`, …, `undo_of`, commitment) in the order above;
  of a run = H("runs", `id`, …, `exit_code`, commitment)
- `content` has, by kind, `operations` and `runs`, lists of id and digest. `forgotten` says of which
  user, and which runs, the salts are gone; `pruned` through which entry, and with which head, the
  record was deleted; `died` is of runs that were found dead, and are named once more if they were
  not; `pulled` is a pull of the directory that was taken over, in numbers; `begins` is the first
  entry, with how much was there before it
- `head` = H(head of the entry before, `id`, `at`, `content`); the first one goes on from 64 zeros.
  Written like `17:3f…`, with its entry, it is what `--against` takes
"""

SAMPLES: tuple[tuple[str, str], ...] = (
    ("users list", "users"),
    ("users show ada", "one user"),
    ("users set bob email=bob@example.com --no-sync", "what a change of the directory changed"),
    ("groups list", "groups"),
    ("groups show staff", "who is in a group, and who is kept out of it"),
    ("states list", "states"),
    ("states preview ada", "the state that a user would have under the present configuration"),
    ("directory pull", "what a pull changed, per source"),
    ("accounts list", "accounts"),
    ("accounts show ada", "the accounts of one user"),
    ("accounts link grace --service lab --name grace --dry-run", "an account that was linked"),
    ("accounts refresh ada --service lab", "what a look at accounts took note of"),
    ("adopt lab --by name --dry-run", "accounts that were, or would be, recognised and linked"),
    ("drift", "what is different between services and our records"),
    ("services list", "services"),
    ("services show lab", "one service"),
    ("services check", "whether services answer"),
    ("services panel kim", "the services page of a user"),
    ("services pause lab", "a service that was paused or resumed"),
    ("services resume lab", ""),
    ("plan", "a plan, or what a run did: also `sync`, `validate` and all others that apply"),
    ("holds list", "held removals, per run and service"),
    ("holds show", "held operations"),
    ("history", "runs"),
    ("history ada", "operations"),
    ("why ada lab", "a decision with its reasons"),
    ("pipeline list", "pipelines"),
    ("pipeline show join", "the steps of a pipeline"),
    ("pipeline check", "what can be said of pipelines without running them"),
    ("pipeline run join --response ada.json", "what a run, or a resumed one, came to"),
    ("pipeline partials", "paused runs"),
    ("config check", "what is wrong with the configuration"),
    ("config show", "the configuration as it takes effect"),
    ("db upgrade --config empty.toml", "migrations that were, or would be, applied"),
    ("db check --config empty.toml", "what is wrong with the database"),
    ("db backup copy.db", "a backup"),
    ("doctor", "what is in order, and what is not"),
    ("audit verify", "whether the record is as it was written"),
    ("audit prune --keep 30d --dry-run", "what was, or would be, deleted of the record"),
)


def output_page() -> str:
    """The schema of every JSON document, with the keys that a real one has."""
    parts = [OUTPUT_HEAD]
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        _sample_site()
        for words, meaning in SAMPLES:
            command, _, config = words.partition(" --config ")
            document = json.loads(_run(config or "svcctl.toml", *command.split(), "--json"))
            schema = document.pop("schema")
            if schema in seen:
                continue
            seen.add(schema)
            shown = command.split(" --", 1)[0]
            parts.append(
                f"## {schema}\n\n{meaning}: `svcctl {shown} --json`\n\n{_keys(schema, document)}\n"
            )
    parts.append(AUDIT_LINES)
    return "\n".join(parts)


SAMPLE_PIPELINE = """
[pipelines.join]
steps = ["social_details", "social_uid", "social_user", "get_username", "create_user", "confirm"]
[backends.github]
uid = "id"
details = { username = "login" }
"""


def _sample_site() -> None:
    """Some of everything: users, accounts, history, and two removals that are held."""
    config_file = Path("svcctl.toml")
    _run("svcctl.toml", "init", "--sample")
    Path("empty.toml").write_text('database = "empty.db"\n', encoding="utf-8")
    _run("svcctl.toml", "directory", "pull")
    _run("svcctl.toml", "sync", "--all")
    with config_file.open("a", encoding="utf-8") as file:
        file.write(SAMPLE_PIPELINE)
    Path("ada.json").write_text('{"id": 7, "login": "wilma"}', encoding="utf-8")
    _run("svcctl.toml", "accounts", "unlink", "grace", "--service", "lab")
    _run("svcctl.toml", "service", "lab", "drop", "bob")
    config = Path("svcctl.toml")
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('groups = ["staff"]', 'groups = ["stuff"]'), encoding="utf-8")
    _run("svcctl.toml", "sync", "--all")


def _run(config: str, *words: str) -> str:
    out, talk = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(talk):
        code = main(["--config", config, *words])
    if code not in (0, 4, 6):
        raise SystemExit(f"svcctl {' '.join(words)}: {code}: {talk.getvalue()}")
    return out.getvalue()


# Lists that are empty on the sample site.
_UNSEEN = {
    "svcctl.refreshed/1": "- `rows`, each with `service`, `user`, `account`, `before`, `after`",
    "svcctl.adoption/1": (
        "- `problems`, each with `service`, `user`, `message`, `hint`, `exit_code`"
    ),
    "svcctl.drift/1": (
        "- `problems`, each with `service`, `user`, `message`, `hint`, `exit_code`\n"
        "- `notes`, each with `service`, `user`, `message`"
    ),
    "svcctl.findings/1": "- `rows`, each with `check`, `subject`, `problem`",
    "svcctl.report/1": (
        "- `problems`, each with `service`, `user`, `message`, `hint`, `exit_code`\n"
        "- `missing` (not on the service any more), each with `service`, `user`, `account`\n"
        "- `verified` (of an interrupted run), each with `service`, `operation`, `result`\n"
        "- `differences` (of `apply`), each with `service`, `user`, `planned`, `now`\n"
        "- `passwords`, where a password was reset, each with `service`, `user`, `password`\n"
        "- `left`: service -> how many accounts are left for the next run"
    ),
}
_OBJECTS = frozenset({"user", "directory", "name", "nickname", "account"})


def _keys(schema: str, document: Mapping[str, Any]) -> str:
    flat, lines = [], []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            names = dict.fromkeys(name for item in value for name in item)
            lines.append(f"- `{key}`, each with {_quoted(names)}")
        elif isinstance(value, dict) and key in _OBJECTS:
            lines.append(f"- `{key}`, with {_quoted(value)}")
        elif f"- `{key}`" not in _UNSEEN.get(schema, ""):
            flat.append(key)
    if flat:
        lines.insert(0, f"- {_quoted(flat)}")
    if schema in _UNSEEN:
        lines.append(_UNSEEN[schema])
    return "\n".join(lines)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Pipelines.

PIPELINES_HEAD = """\
# Pipelines: steps and settings

The steps that ship, and every setting that they consult. What pipelines are and how to write a
step: [pipelines.md](../pipelines.md). A step is named by its short name, or by its dotted name
under `social.pipeline.` or `social_core.pipeline.`; `module:function` and all other dotted names
are imported as they are.
"""


def pipelines_page() -> str:
    """Each step by its declaration and its docstring, each setting with who reads it."""
    parts = [PIPELINES_HEAD]
    for kind, names in definition.DEFAULT_STEPS.items():
        parts.append(f"The default list of kind `{kind}`: {_quoted(names)}.\n")
    readers: dict[str, list[str]] = {name: [] for name in pipeline_settings.KNOWN}
    parts.append("## Steps\n")
    for name in definition.SHIPPED:
        step = definition.resolve(name)
        declared = step.declaration
        assert declared is not None
        for setting in declared.settings:
            readers[setting].append(name)
        parts += [f"### {name}\n", f"{inspect.getdoc(step.function)}\n"]
        facts = {
            "needs": [one for one in step.required if one not in SURROUNDINGS],
            "gives": sorted(declared.produces),
            "settings": declared.settings,
            "waits for": declared.needs,
        }
        lines = [f"- {label}: {_quoted(words)}" for label, words in facts.items() if words]
        if declared.effects:
            lines.append(f"- does: {declared.effects}")
        if lines:
            parts.append("\n".join(lines) + "\n")
    parts.append("## Settings\n")
    parts.append(
        "With or without `SOCIAL_AUTH_`; `GITHUB_` before the name, or the `settings` of "
        "`[backends.github]`, for one backend only, which comes first. Besides these, "
        "python-social-auth's own backends read "
        f"{_quoted(sorted(pipeline_settings.BACKEND_CLASS))}.\n"
    )
    rows = ["| setting | default | meaning | read by |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {_cell(one.default)} | {_cell(one.about)} "
        f"| {_quoted(readers[name]) or 'the engine, or the backend'} |"
        for name, one in pipeline_settings.KNOWN.items()
    ]
    parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


# What svcctl can do on which server, as its hooks say, less what was found out with the server.

SERVERS_HEAD = """\
# Servers

With which servers svcctl was driven, what it can do there, and which tests show it. A hook can do
more or less on another server that speaks the same protocol; `svcctl services show` says what it
can do on yours. *Taken over* is one scenario for all: wrong credentials, two accounts that were
there are adopted, others are created although the server breaks off, names and groups change,
somebody leaves and comes back, groups given by hand and a stranger are left alone, and `drift`
finds nothing wrong in the end. OpenLDAP, Samba and mosquitto are killed in the middle of the run,
SCIM servers are cut off there, the servers of recipes are killed before it (in the middle by their
own tests), and files of web servers are gone for a while; Apache says in the end who is let in.
*The contract* is what every manager promises (`svcctl.hooks.testing`), tried with answers that come
late, broken, wrong or never.
"""
LIFE = "../../tests/live"
CAN = {
    "list_accounts": "list",
    "create_account": "create",
    "disable_account": "disable",
    "delete_account": "delete",
    "set_password": "password",
    "set_nickname": "nickname",
    "change_groups": "groups",
}
_FILES = 'hook = "htpasswd"\npassword_file = "x"\ngroup_file = "y"'
_SCIM = 'hook = "scim"\nbase_url = "https://x"'
_LDAP = """hook = "ldap"
server = "ldaps://x"
bind_dn = "cn=svcctl"
bind_password = { env = "X" }
base = "ou=people"
group_base = "ou=groups"
dialect = """
_COMMAND = """hook = "command"
program = "x"
methods = ["list_accounts", "get_account", "find_account", "create_account", "enable_account",
    "disable_account", "delete_account", "set_password", "set_nickname", "change_groups"]"""
_EXAMPLE = "../../examples/svcctl-mosquitto"
_MQTT = """hook = "mosquitto"
server = "mqtts://x"
login = "svcctl"
password = { env = "X" }"""
SERVERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("Apache httpd 2.4, nginx 1.22, Subversion 1.14", _FILES, "test_htpasswd_live.py", ()),
    ("scim2-server 0.8.3", _SCIM, "test_scim_live.py", ()),
    ("canaille 0.3.6", _SCIM, "test_scim_live.py", ()),
    ("django-scim2 0.23", _SCIM, "test_scim_live.py", ("set_nickname",)),
    ("OpenLDAP 2.5", f'{_LDAP}"openldap"', "test_ldap_live.py", ()),
    ("Active Directory of Samba 4.17", f'{_LDAP}"active-directory"', "test_ldap_live.py", ()),
    ("WordPress 6.1", "wordpress.toml", "test_recipes_live.py", ()),
    ("MediaWiki 1.39", "mediawiki.toml", "test_recipes_live.py", ()),
    ("Redmine 5.0", "redmine.toml", "test_recipes_live.py", ()),
    ("PostgreSQL 15, roles", "postgresql.toml", "test_recipes_live.py", ()),
    ("MariaDB 10.11, users", "mariadb.toml", "test_recipes_live.py", ()),
    ("mosquitto 2.0.11", _MQTT, f"{_EXAMPLE}/tests/test_mosquitto_live.py", ()),
    ("the program of services without Python", _COMMAND, "", ()),
)
_ANYBODY = "[states.Member]\npriority = 1\n[directory]\nattributes = ['first_name', 'last_name']\n"


def servers_page() -> str:
    """A row per server."""
    head = ["server", "`hook`", *CAN.values(), "proven by"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for server, table, test, lacking in SERVERS:
        recipe = table.endswith(".toml")
        text = f"[services.it]\n{table}\n"
        if recipe:
            text = (DOCS / "recipes" / table).read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "svcctl.toml")
            path.write_text(f"{_ANYBODY}{text}", encoding="utf-8")
            (hook,) = load_hooks(load(path)).loaded.values()
        can = ["yes" if hook.can(one) and one not in lacking else "no" for one in CAN]
        kind = f"`{hook.config.hook}`" + (f" ([recipe](../recipes/{table}))" if recipe else "")
        kind += f" ([example]({_EXAMPLE}))" if table == _MQTT else ""
        where = test if "/" in test else f"{LIFE}/{test}"
        proof = [f"[its own tests]({where})"] if test else []
        for name in ("_contract_live", ""):
            contract = where.replace("_live", name)
            if test and (DOCS / "reference" / contract).exists():
                proof.append(f"[the contract]({contract})")
        taken = "test_htpasswd_live.py" if table == _FILES else "test_takeover_live.py"
        proof.append(f"[taken over]({LIFE}/{taken})")
        lines.append(f"| {' | '.join([server, kind, *can, ', '.join(proof)])} |")
    return SERVERS_HEAD + "\n" + "\n".join(lines) + "\n"


# Where what is.

SOURCE_HEAD = """\
# Source map

Imports point downwards; `make check` says where they do not. What each module is for is its own
first line.

"""
LAYERS: tuple[tuple[str, str], ...] = (
    ("cli", "The entrance"),
    ("commands", "One file per verb: options, one call, one render"),
    ("pipeline", "Pipelines: steps, partials, and what runs them"),
    ("runs", "The engine: plan, guard, apply, report"),
    ("tasks", "What each verb means"),
    ("hooks", "The contract, and one module per service"),
    ("store", "The database"),
    ("directory", "Sources of users"),
    ("locks", "What the layers above share"),
    ("config", "The configuration file"),
    ("model", "The words"),
)
_FLAT = {
    "__init__": "cli",
    "__main__": "cli",
    "limits": "locks",
    "databases": "locks",
    "http": "locks",
    "ldap": "locks",
    "names": "model",
    "notify": "locks",
    "log": "locks",
    "vault": "locks",
    "spool": "locks",
    "tripwire": "locks",
    "clock": "model",
    "disk": "model",
    "text": "model",
    "errors": "model",
}


def source_page() -> str:
    """Every module with the first line of its docstring, by layer."""
    layers: dict[str, list[str]] = {layer: [] for layer, _ in LAYERS}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE)
        if "versions" in module.parts:
            continue
        first = module.parts[0].removesuffix(".py")
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        summary = " ".join(text.split("\n\n")[0].split())
        layers[_FLAT.get(first, first)].append(f"| `svcctl/{module}` | {_cell(summary)} |")
    parts = [SOURCE_HEAD]
    for layer, title in LAYERS:
        rows = "\n".join(layers[layer])
        parts.append(f"## {title}\n\n| module | |\n|---|---|\n{rows}\n\n")
    parts.append(
        "Besides: `svcctl/demo/` and `svcctl/templates/` are the texts of `demo` and `init`, "
        "`svcctl/store/migrations/versions/` the steps of the schema, `tests/live/` the tests "
        "against real servers, `benchmarks/` the budgets, `chaos/` the matrices of "
        "[reliability.md](reliability.md).\n"
    )
    return "".join(parts)


PAGES = {
    "man/svcctl.1": commands_manual,
    "man/svcctl.toml.5": settings_manual,
    "reference/commands.md": commands_page,
    "reference/configuration.md": configuration_page,
    "reference/output.md": output_page,
    "reference/pipelines.md": pipelines_page,
    "reference/servers.md": servers_page,
    "source-map.md": source_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
