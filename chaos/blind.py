"""A service that neither keeps svcctl's key nor can be searched."""

from svcctl.hooks.manager import Manager
from svcctl.hooks.sandbox import SandboxHook, SandboxManager


class BlindManager(SandboxManager):
    """Whether a create was done is known to nobody whose answer was lost."""

    stores_external_id = False
    find_account = Manager.find_account


class BlindHook(SandboxHook):
    manager_class = BlindManager
