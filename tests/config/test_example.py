"""`config.example.toml` loads, and forgets no option."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from svcctl.config.load import load, read
from svcctl.config.log import Log
from svcctl.config.monitor import Monitor
from svcctl.config.notify import Mail, Notify
from svcctl.config.pipeline import Backend, Pipeline
from svcctl.config.service import HookConfig
from svcctl.config.settings import Settings, StateRule
from svcctl.config.source import CsvSource, JsonSource, SqlSource
from svcctl.config.values import plain
from svcctl.hooks.command import CommandConfig
from svcctl.hooks.htpasswd import HtpasswdConfig
from svcctl.hooks.registry import hook_class, load_hooks

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
OPTION = re.compile(r"^#(?=[a-z_]+ = |\[)", re.MULTILINE)


@pytest.fixture(scope="module")
def everything() -> Mapping[str, Any]:
    """The file with every option taken out of its comment."""
    return tomli.loads(OPTION.sub("", EXAMPLE.read_text(encoding="utf-8")))


def options(model: type[BaseModel], table: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each option of the model: its name, the default, what the example has."""
    for key, field in model.model_fields.items():
        name = field.alias or key
        default = field.get_default(call_default_factory=True)
        inner = type(default) if isinstance(default, BaseModel) else None
        if inner and isinstance(table.get(name), Mapping):
            for path, *rest in options(inner, table[name]):
                yield f"{name}.{path}", *rest
        else:
            yield name, default, table.get(name)


TABLES = [
    (Settings, ()),
    (CsvSource, ("directory", "sources", "people")),
    (JsonSource, ("directory", "sources", "partners")),
    (SqlSource, ("directory", "sources", "intranet")),
    (StateRule, ("states", "Member")),
    (HtpasswdConfig, ("services", "wiki")),
    (hook_class("sandbox").config_class, ("services", "lab")),
    (CommandConfig, ("services", "radio")),
    (Notify, ("notify",)),
    (Mail, ("notify", "mail")),
    (Monitor, ("monitor",)),
    (Log, ("log",)),
    (Pipeline, ("pipelines", "join")),
    (Backend, ("backends", "github")),
]


def table_at(tables: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for part in path:
        tables = tables[part]
    return tables


@pytest.mark.parametrize(("model", "path"), TABLES, ids=str)
def test_every_option_is_in_the_example(
    everything: Mapping[str, Any], model: type[BaseModel], path: tuple[str, ...]
) -> None:
    table = table_at(everything, path)
    if model is Backend:  # one that is mapped, and one that is a class
        table = {**table, **table_at(everything, ("backends", "discord"))}
    common = HookConfig.model_fields if path[-1:] in (("lab",), ("radio",)) else {}
    missing = [
        name
        for name, _, shown in options(model, table)
        if shown is None and name.partition(".")[0] not in common
    ]
    assert missing == []


@pytest.mark.parametrize(("model", "path"), TABLES, ids=str)
def test_what_is_commented_out_is_the_default(
    everything: Mapping[str, Any], model: type[BaseModel], path: tuple[str, ...]
) -> None:
    def at(tables: Mapping[str, Any], name: str) -> Any:
        commented_out = model in (JsonSource, SqlSource, Mail, CommandConfig, Pipeline, Backend)
        value: Any = {} if commented_out else table_at(tables, path)
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    active = tomli.loads(EXAMPLE.read_text(encoding="utf-8"))
    wrong = {
        name: (default, shown)
        for name, default, shown in options(model, table_at(everything, path))
        if shown is not None
        and at(active, name) is None
        and default not in (None, PydanticUndefined, {}, ())
        and plain(default) != shown
    }
    assert wrong == {}


def test_the_example_is_a_configuration_with_hooks_that_load() -> None:
    settings = load(EXAMPLE)
    assert [name for name, _ in settings.state_rules()] == ["Member", "Blue", "Guest"]
    hooks = load_hooks(settings)
    assert hooks.problems == {}
    assert list(hooks.loaded) == ["wiki", "lab"]


def test_the_example_with_every_option_taken_in_is_one_too(everything: Mapping[str, Any]) -> None:
    hooks = load_hooks(read(everything, EXAMPLE))
    assert hooks.problems == {}
