"""mail_validation: it pauses until a code shows that the address is the person's."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from social_core.backends.github import GithubOAuth2

from svcctl.errors import Refused
from tests.support.social import Redirect

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground

SOCIAL, USER = "svcctl.pipeline.steps.social", "svcctl.pipeline.steps.user"
HERE = "tests.pipeline.test_steps_mail"
STEPS = [
    f"{SOCIAL}.social_details",
    f"{SOCIAL}.social_uid",
    f"{SOCIAL}.social_user",
    f"{USER}.get_username",
    "svcctl.pipeline.steps.mail.mail_validation",
    f"{USER}.create_user",
    f"{SOCIAL}.associate_user",
]
ADA = {"id": 1, "login": "ada", "email": "ada@example.org"}
MAILED: list[tuple[str, str, str, str]] = []


class Careful(GithubOAuth2[Any]):
    """A provider that lets people type any address."""

    REQUIRES_EMAIL_VALIDATION = True


def mail(strategy: Any, backend: Any, code: Any, token: str) -> None:
    """What EMAIL_VALIDATION_FUNCTION names: it would send a letter."""
    MAILED.append((backend.name, code.email, code.code, token))


@pytest.fixture
def mailed(memory: "Ground") -> list[tuple[str, str, str, str]]:
    """The letters: backend, address, code, token of the paused run."""
    MAILED.clear()
    memory.configure(
        SOCIAL_AUTH_PIPELINE=STEPS,
        SOCIAL_AUTH_EMAIL_VALIDATION_FUNCTION=f"{HERE}.mail",
        SOCIAL_AUTH_EMAIL_VALIDATION_URL="/look-into-your-mail",
    )
    return MAILED


def login(memory: "Ground", backend: Any = Careful, **response: Any) -> Any:
    provider = memory.backend(backend)
    return memory.strategy.authenticate(provider, response=ADA | response)


def resume(memory: "Ground", token: str, code: str, backend: Any = Careful) -> Any:
    memory.strategy.request = {"verification_code": code}
    paused = memory.strategy.partial_load(token)
    paused.request_data = memory.strategy.request
    try:
        return memory.backend(backend).continue_pipeline(paused)
    finally:
        memory.strategy.request = {}


def test_it_mails_a_code_and_pauses_before_there_is_a_user(memory: "Ground", mailed: Any) -> None:
    assert login(memory) == Redirect("/look-into-your-mail")
    ((backend, address, code, token),) = mailed
    assert (backend, address) == ("github", "ada@example.org")
    assert code
    assert not memory.users.rows
    paused = memory.strategy.storage.partial.load(token)
    assert paused.data["allow_external_resume"] is True
    assert memory.strategy.session == {
        "partial_pipeline_token": token,
        "email_validation_address": "ada@example.org",
    }


def test_the_code_lets_the_run_go_on(memory: "Ground", mailed: Any) -> None:
    login(memory)
    (_, _, code, token) = mailed[0]
    user = resume(memory, token, code)
    assert (user.username, user.email) == ("ada", "ada@example.org")
    assert memory.users.associations[0].user is user
    assert "email_validation_address" not in memory.strategy.session
    assert len(mailed) == 1


def test_a_wrong_code_is_refused_and_the_right_one_still_works(
    memory: "Ground", mailed: Any
) -> None:
    login(memory)
    (_, _, code, token) = mailed[0]
    for wrong in ("", "guess", code.upper()):
        with pytest.raises(Refused, match=r"^the code does not show that ada@example\.org") as no:
            resume(memory, token, wrong)
        assert no.value.code == "email_verification_rejected"
        assert no.value.hint
    assert not memory.users.rows
    assert resume(memory, token, code).username == "ada"


def test_a_code_counts_once(memory: "Ground", mailed: Any) -> None:
    login(memory)
    (_, _, code, token) = mailed[0]
    resume(memory, token, code)
    with pytest.raises(Refused):
        resume(memory, token, code)


def test_a_code_for_another_address_is_refused(memory: "Ground", mailed: Any) -> None:
    login(memory)
    login(memory, id=2, login="bob", email="bob@example.org")
    (_, _, for_ada, _), (_, _, _, bobs) = mailed
    with pytest.raises(Refused):
        resume(memory, bobs, for_ada)


@pytest.mark.parametrize(
    ("lifetime", "age", "good"),
    [(None, 6, True), (None, 8, False), (86_400, 2, False), (86_400, 0, True), (0, 30, True)],
)
def test_a_code_ends_after_seven_days_or_as_the_settings_say(
    memory: "Ground",
    mailed: Any,
    lifetime: int | None,
    age: int,
    good: bool,  # noqa: FBT001
) -> None:
    if lifetime is not None:
        memory.configure(EMAIL_VALIDATION_EXPIRED_THRESHOLD=lifetime)
    login(memory)
    (_, _, code, token) = mailed[0]
    memory.strategy.storage.code.get_code(code).timestamp = datetime.now(UTC) - timedelta(days=age)
    if good:
        assert resume(memory, token, code).username == "ada"
    else:
        with pytest.raises(Refused):
            resume(memory, token, code)


def test_it_lets_pass_who_has_no_address_and_who_is_known(memory: "Ground", mailed: Any) -> None:
    assert login(memory, email="").username == "ada"
    assert login(memory).username == "ada"
    assert mailed == []


@pytest.mark.parametrize("prefix", ["SOCIAL_AUTH_", "SOCIAL_AUTH_GITHUB_", ""])
def test_the_settings_force_it(memory: "Ground", mailed: Any, prefix: str) -> None:
    assert login(memory, GithubOAuth2).username == "ada"
    memory.configure(**{f"{prefix}FORCE_EMAIL_VALIDATION": True})
    assert login(memory, GithubOAuth2).username == "ada"
    memory.configure(**{f"{prefix}PASSWORDLESS": True})
    assert isinstance(login(memory, GithubOAuth2), Redirect)
    memory.configure(**{f"{prefix}PASSWORDLESS": False})
    assert isinstance(login(memory, GithubOAuth2, id=2), Redirect)
    assert len(mailed) == 2


def test_passwordless_logs_a_known_user_in_by_code(memory: "Ground", mailed: Any) -> None:
    ada = login(memory, GithubOAuth2)
    memory.configure(SOCIAL_AUTH_PASSWORDLESS=True, SOCIAL_AUTH_FORCE_EMAIL_VALIDATION=True)
    login(memory, GithubOAuth2)
    (_, _, code, token) = mailed[0]
    assert resume(memory, token, code, GithubOAuth2) is ada


def test_the_page_may_be_one_of_the_provider(memory: "Ground", mailed: Any) -> None:
    memory.configure(SOCIAL_AUTH_GITHUB_EMAIL_VALIDATION_URL="/github-mail")
    assert login(memory) == Redirect("/github-mail")


def test_every_pause_has_a_code_of_its_own(memory: "Ground", mailed: Any) -> None:
    login(memory)
    login(memory)
    assert len({code for _, _, code, _ in mailed}) == len({token for *_, token in mailed}) == 2
