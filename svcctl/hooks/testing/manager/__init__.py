"""ManagerContract: what every manager promises, as tests."""

from svcctl.hooks.testing.manager.failures import Failures
from svcctl.hooks.testing.manager.groups import Groups
from svcctl.hooks.testing.manager.life import Life
from svcctl.hooks.testing.manager.naming import Naming
from svcctl.hooks.testing.manager.reads import Reads
from svcctl.hooks.testing.manager.secrecy import Secrecy
from svcctl.hooks.testing.manager.threads import Threads

__all__ = ["ManagerContract"]


# pytest begins with the last of the bases: what is easy to write comes first.
class ManagerContract(Threads, Secrecy, Failures, Groups, Naming, Life, Reads):
    """The tests that a manager must pass. Subclass it, and give at least the fixture `connect`.

        class TestForum(ManagerContract):
            hook_class = ForumHook

            @pytest.fixture
            def connect(self, forum):
                return lambda: ForumManager(forum.url, token=forum.token)

    Each test makes accounts of its own, under names that nobody has, and deletes them at the end
    where the manager can. What the manager cannot do is skipped with that reason, and so is what
    needs a fixture that the subclass does not give.

    hook_class: whose name rules the test's names are made to fit.
    page_size: how many accounts a page of the listing has; small, so that several are filled.
    patience: seconds until a manager must have given up on a service that does not answer.
    Fixtures besides `connect`: `groups`, `faults`, `impatient`, `denied`, `credentials`, `logs_in`,
    `absent_uid`. Methods to override: `fit`, `attributes`, `can`.

    A test that cannot hold for a service is switched off in sight: `test_… = None`, with a comment
    that says why.
    """
