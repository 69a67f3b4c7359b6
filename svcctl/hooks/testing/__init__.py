"""The kit for those who write a hook: contract tests to subclass, real servers, broken networks.

Needs pytest, which svcctl itself does not.
"""

try:
    import pytest
except ImportError as error:
    raise ImportError("svcctl.hooks.testing needs pytest: pip install pytest") from error

# Before they are imported: their assertions are to explain themselves as those of a test do.
pytest.register_assert_rewrite("svcctl.hooks.testing.manager", "svcctl.hooks.testing.hook")

from svcctl.hooks.testing.faults import Faults, HttpFaults, Strike, without_last  # noqa: E402
from svcctl.hooks.testing.hook import HookContract  # noqa: E402
from svcctl.hooks.testing.manager import ManagerContract  # noqa: E402
from svcctl.hooks.testing.manager.subject import Connect, LogsIn  # noqa: E402
from svcctl.hooks.testing.proxy import Proxy, proxied  # noqa: E402
from svcctl.hooks.testing.server import NotStarted, Server, absent, program, running  # noqa: E402
from svcctl.hooks.testing.wire import Wire, WireFaults, wired  # noqa: E402

__all__ = [
    "Connect",
    "Faults",
    "HookContract",
    "HttpFaults",
    "LogsIn",
    "ManagerContract",
    "NotStarted",
    "Proxy",
    "Server",
    "Strike",
    "Wire",
    "WireFaults",
    "absent",
    "program",
    "proxied",
    "running",
    "wired",
    "without_last",
]
