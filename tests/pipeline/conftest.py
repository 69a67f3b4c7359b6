"""The ground on which steps are tried: a strategy, its storage, and a provider."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from social_core.backends.github import GithubOAuth2

from tests.support.social import Association, Strategy, User, Users


@dataclass(frozen=True)
class Ground:
    """social-core's strategy interface over tables in memory, and what tests put there."""

    strategy: Any

    @property
    def users(self) -> Users:
        """The storage of users and associations."""
        found: Users = self.strategy.storage.user
        return found

    def configure(self, **settings: Any) -> None:
        """Settings by the names that an installation writes."""
        self.strategy.settings.update(settings)

    def backend(self, backend_class: Callable[..., Any] = GithubOAuth2) -> Any:
        """A provider; GitHub needs neither key nor network where the response is given."""
        return backend_class(self.strategy)

    def user(self, username: str, **fields: Any) -> User:
        """Somebody who is known."""
        return self.users.create_user(username=username, **fields)

    def association(
        self, user: User, uid: str, id_key: str = "id", provider: str = "github", **extra: Any
    ) -> Association:
        """A uid that is theirs."""
        social = self.users.create_social_auth(user, uid, provider, id_key=id_key)
        social.set_extra_data(extra)
        return social


@pytest.fixture
def ground() -> Ground:
    """Nobody and nothing there yet."""
    return Ground(Strategy())
