"""The JSON Schema of the configuration file, for editors: svcctl's own part and that of hooks."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from svcctl.config.service import SERVICE_NAME, HookConfig
from svcctl.config.settings import Settings
from svcctl.hooks.contract import ServiceHook

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema(hooks: Mapping[str, type[ServiceHook]]) -> dict[str, Any]:
    """The schema of `svcctl.toml`. `hooks`: what stands in `hook = "…"` -> its class.

    A service of another hook is held to the common settings only.
    """
    models = {name: hook.config_class for name, hook in sorted(hooks.items())}
    every: dict[type[BaseModel], None] = dict.fromkeys([Settings, HookConfig, *models.values()])
    references, schema = models_json_schema([(model, "validation") for model in every])
    definitions = schema["$defs"]
    choices: list[dict[str, Any]] = []
    for name, model in models.items():
        named = {"properties": {"hook": {"const": name}}}
        choices.append({"allOf": [references[model, "validation"], named]})
    common = references[HookConfig, "validation"]
    open_ended = dict(definitions[common["$ref"].rpartition("/")[2]], additionalProperties=True)
    other = {"properties": {"hook": {"not": {"enum": list(models)}}}}
    choices.append({"allOf": [open_ended, other]} if models else open_ended)
    own: dict[str, Any] = definitions[references[Settings, "validation"]["$ref"].rpartition("/")[2]]
    own["properties"]["services"] = {
        "type": "object",
        "description": "the services, by name",
        "propertyNames": {"pattern": f"^{SERVICE_NAME}$"},
        "additionalProperties": {"anyOf": choices},
    }
    return {"$schema": DIALECT, **own, "title": "svcctl.toml", "$defs": definitions}
