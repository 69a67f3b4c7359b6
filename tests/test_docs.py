"""The documents say what the code does: tables, links, commands, configurations, the tutorial."""

import getpass
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomli
import typer

from svcctl import model
from svcctl.cli import app, main
from svcctl.config.load import load
from svcctl.config.secrets import Secret
from svcctl.config.settings import Settings
from svcctl.errors import _PRECEDENCE, ExitCode, ManagerError
from svcctl.hooks import manager
from svcctl.hooks.contract import DECISIONS, ServiceHook
from svcctl.hooks.manager import Manager
from svcctl.hooks.registry import load_hooks
from svcctl.model import OperationStatus
from svcctl.pipeline.check import Severity, check
from svcctl.pipeline.definition import definition, resolve
from svcctl.pipeline.settings import Lookup
from svcctl.runs.finding import Kind
from svcctl.runs.rule import MEANING

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*/*.md")])


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of table rows, without the heads."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("| ").split(" | ")]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    if str(DOCS) not in sys.path:  # where it finds what it is made of
        sys.path.append(str(DOCS))
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and nothing of this shell's own settings."""
    for name in [name for name in os.environ if name.startswith("SVCCTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Tables


def test_the_readmes_exit_codes_are_the_programs() -> None:
    section = text_of("README.md").split("## Exit codes")[1].split("\n## ")[0]
    codes = [code for cells in rows(section) for code in re.findall(r"\d+", cells[0])]
    assert codes == [str(int(code)) for code in ExitCode]


def test_the_reference_of_exit_codes_has_their_names_and_their_order() -> None:
    text = text_of("docs/reference/exit-codes.md")
    table = [(int(cells[0]), cells[1].strip("`")) for cells in rows(text) if cells[0].isdigit()]
    assert table == [(int(code), code.name) for code in ExitCode]
    order = re.search(r"the first of these is given: ([0-9, ]+)\.", text)
    assert order
    assert order[1] == ", ".join(str(int(code)) for code in _PRECEDENCE)


def test_the_explanation_has_every_status_of_an_operation() -> None:
    section = text_of("docs/explanation.md").split("## How an operation stands")[1]
    table = [cells[0].strip("`") for cells in rows(section.split("\n## ")[0])]
    assert sorted(table[1:]) == sorted(OperationStatus)


def test_the_how_to_has_every_kind_of_drift() -> None:
    section = text_of("docs/how-to.md").split("## See what is different on a service")[1]
    table = [cells[0].strip("`") for cells in rows(section.split("\n## ")[0])]
    assert table[1:] == list(Kind)


def test_the_how_to_has_every_rule_of_adopt() -> None:
    section = text_of("docs/how-to.md").split("## Take over an existing service")[1]
    table = [cells[0].strip("`") for cells in rows(section.split("\n## ")[0])]
    assert [rule.removesuffix(":KEY") for rule in table[1:]] == list(MEANING)


def test_the_reference_of_hooks_names_the_whole_contract_and_nothing_else() -> None:
    text = text_of("docs/reference/hooks.md")
    named = set(re.findall(r"`([a-z_]\w*)(?:\([^`]*\))?`", text, re.IGNORECASE))
    public = {name for name in vars(ServiceHook) if not name.startswith("_")}
    public |= {name for name in vars(Manager) if not name.startswith("_")}
    public |= {"name", "config", "now", *DECISIONS}
    public |= {error.__name__ for error in ManagerError.__subclasses__()}
    assert public - named == set()
    for row in rows(text.split("## Values")[1]):
        name = row[0].strip("`")
        found: Any = getattr(model, name, getattr(manager, name, None))
        if is_dataclass(found):
            listed = re.findall(r"`(\w+)`", row[1])
            assert listed == [field.name for field in fields(found)], name
    methods = set(re.findall(r"`(\w+)\(", text.split("## Where this comes from")[0]))
    assert methods - public == {"account", "can", "operation", "RateLimit"} - public


# Generated pages


@pytest.mark.parametrize(
    "name",
    [
        "reference/commands.md",
        "reference/configuration.md",
        "reference/output.md",
        "reference/servers.md",
        "source-map.md",
    ],
)
def test_a_generated_page_is_up_to_date(name: str, clean: Path) -> None:
    page: Callable[[], str] = generator().PAGES[name]
    stands = (DOCS / name).read_text(encoding="utf-8")
    assert stands == page(), f"docs/{name} is old: run make docs"


# Links and names


def anchors(text: str) -> set[str]:
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_exists(page: Path) -> None:
    links = re.findall(r"\[(test_\w+)\]\((\S+)\)", page.read_text(encoding="utf-8"))
    for test, target in links:
        text = (page.parent / target).read_text(encoding="utf-8")
        assert re.search(rf"^\s*def {test}\(", text, re.MULTILINE), f"{target}: {test}"
    assert links or page.name != "safety.md"


def walk(words: list[str], *, whole: bool) -> Any:
    """The command of a command line; `whole`: its options and arguments are read as well."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "list_commands") and words and words[0] != "service":
        if whole:
            context = command.make_context(words[0], list(words), parent=context)
            words = [*context._protected_args, *context.args]
        else:
            context = command.make_context("svcctl", [], parent=context, resilient_parsing=True)
        assert words[0] in command.list_commands(context), words
        command = command.get_command(context, words[0])
        words = words[1:]
    if whole and not hasattr(command, "list_commands"):
        command.make_context("svcctl", words, parent=context)
    return command


def typed(text: str) -> list[str]:
    """What is typed at a prompt."""
    lines = [line for block in fences(text, "console") for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith(("$ ", "# "))]


def test_every_command_line_in_the_documents_is_understood(clean: Path) -> None:
    read = 0
    for page in PAGES:
        for line in typed(page.read_text(encoding="utf-8")):
            words = shlex.split(line)
            # What installs completion does it while it is read; tests/live has it.
            if words[0] == "svcctl" and words[1:] != ["--install-completion"]:
                walk(words[1:], whole=True)
                read += 1
    assert read > 40


def test_every_command_that_the_text_names_exists() -> None:
    for page in PAGES:
        for code in re.findall(r"`svcctl ([^`]+)`", page.read_text(encoding="utf-8")):
            words = code.replace("\n", " ").split()
            options = [n for n, word in enumerate(words) if not re.fullmatch(r"[a-z-]+", word)]
            names = words[: options[0]] if options else words
            if names and not names[0].startswith("-"):
                walk(names, whole=False)


def test_every_option_that_the_text_names_exists() -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", text_of("docs/reference/commands.md")))
    for page in PAGES:
        text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
        for code in re.findall(r"`([^`]+)`", text):
            if not code.startswith(("pip", "docs/")):
                named = {option.rstrip("-") for option in re.findall(r"--[a-z][a-z-]+", code)}
                assert named - known - {"--accept"} == set(), page.name


# Configurations


def test_the_readmes_configuration_is_complete_and_as_short_as_it_says(clean: Path) -> None:
    (config,) = fences(text_of("README.md"), "toml")
    assert len([line for line in config.splitlines() if line]) <= 10
    (clean / "svcctl.toml").write_text(config, encoding="utf-8")
    settings = load(clean / "svcctl.toml")
    hooks = load_hooks(settings)
    assert (list(hooks.loaded), dict(hooks.failed)) == (["wiki"], {})


def test_the_how_tos_configurations_are_right(clean: Path) -> None:
    secrets = 0
    for config in fences(text_of("docs/how-to.md"), "toml"):
        if config.startswith("token"):
            for line in config.splitlines():
                Secret.parse(tomli.loads(line)["token"])
                secrets += 1
        elif "services" not in config:
            (clean / "svcctl.toml").write_text(config, encoding="utf-8")
            assert load(clean / "svcctl.toml").model_dump() != Settings().model_dump()
    assert secrets == 4


def test_the_pages_pipelines_are_right_and_nothing_in_them_is_to_be_mended(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = text_of("docs/pipelines.md")
    for config in fences(page, "toml"):
        (clean / "svcctl.toml").write_text(config, encoding="utf-8")
        settings = load(clean / "svcctl.toml")
        for name in settings.pipelines:
            steps = definition(settings, name)
            chosen = Lookup(name, steps.pipeline, settings.backends).chosen()
            found = check(steps.steps, kind=steps.pipeline.kind, settings=chosen, mail=True)
            assert [one for one in found if one.severity is Severity.ERROR] == []
    django, step, test = fences(page, "python")
    listed: dict[str, Any] = {}
    exec(django, listed)
    assert all(resolve(name).declaration for name in listed["SOCIAL_AUTH_PIPELINE"])
    (clean / "acme").mkdir()
    (clean / "acme" / "steps.py").write_text(step, encoding="utf-8")
    monkeypatch.syspath_prepend(str(clean))
    tests: dict[str, Any] = {}
    exec(test, tests)
    tests["test_it_waits_for_the_badge"]()
    assert resolve("acme.steps.ask_for_badge").declaration


# What is run


def run(line: str, last: list[int]) -> list[str]:
    """A line of a shell, and what it wrote, as lines."""
    if line == "echo $?":
        return [str(last[-1])]
    if not line.startswith("svcctl "):
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).splitlines()
    written = io.StringIO()
    with redirect_stdout(written), redirect_stderr(written):
        last.append(main(shlex.split(line)[1:]))
    return written.getvalue().splitlines()


def comparable(lines: list[str], folder: Path) -> list[str]:
    """Without what differs from run to run: moments, the folder, the login name, the order."""
    login = getpass.getuser()
    told = []
    for line in lines:
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "MOMENT", line)
        text = re.sub(r"\bsb-\d{6}\b", "UID", text).replace(str(folder), "/home/ada/site")
        told.append(" ".join("ada" if word == login else word for word in text.split()))
    return sorted(told)


def test_the_tutorial_happens_as_it_is_told(clean: Path) -> None:
    last = [0]
    steps = 0
    for block in fences(text_of("docs/tutorial.md"), "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *told = part.splitlines()
            assert comparable(run(line, last), clean) == comparable(told, clean), line
            steps += 1
    assert steps > 15
