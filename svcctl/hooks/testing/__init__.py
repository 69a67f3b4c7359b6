"""The kit for those who write a hook: contract tests to subclass, real servers, broken networks.

Needs pytest, which svcctl itself does not.
"""

try:
    import pytest  # noqa: F401 - said here, once, in words
except ImportError as error:
    raise ImportError("svcctl.hooks.testing needs pytest: pip install pytest") from error
