"""HookContract: what every hook promises, as tests."""

from svcctl.hooks.testing.hook.access import Access
from svcctl.hooks.testing.hook.decisions import Decisions
from svcctl.hooks.testing.hook.details import Details

__all__ = ["HookContract"]


class HookContract(Decisions, Access, Details):
    """The tests that a hook must pass. Subclass it, and name the hook:

        class TestForumHook(HookContract):
            hook_class = ForumHook
            settings = {"server": "https://forum.example.org", "token": {"env": "TOKEN"}}

    settings: what `[services.NAME]` must have for this hook, besides what every service has.
    member, stranger: somebody who may have an account if `access.states` is `["Member"]`, and
    somebody who may not; where the hook's policy asks for more, give others.

    A hook decides and does nothing else: each decision is asked for while the tripwire is armed,
    as the engine does it. A test that is not this hook's policy is switched off in sight:
    `test_… = None`, with a comment that says why.
    """
