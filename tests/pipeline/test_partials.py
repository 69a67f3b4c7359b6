"""Runs that pause: saved whole, found by the right people, gone on with once."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from svcctl.errors import ExitCode
from tests.support.pipelines import ME, NOTHING, STEPS, TOKEN, kept, pipeline, ran

if TYPE_CHECKING:
    from tests.conftest import Site, Svcctl

PAUSED = (*STEPS[:5], "acme_steps.ask_for_nick", *STEPS[5:])


def paused(svcctl: "Svcctl", *words: str) -> str:
    done = ran(svcctl, "run", "join", "-r", "me.json", *words, code=6)
    assert done["outcome"] == "paused"
    id_: str = done["partial"]["id"]
    return id_


def test_it_goes_on_at_the_step_that_paused_with_what_it_waits_for(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*PAUSED)
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert done.exit_code == ExitCode.PAUSED
    assert "paused at acme_steps.ask_for_nick: would send a browser to /ask" in done.stdout
    (listed,) = json.loads(svcctl("pipeline", "partials", "--json").stdout)["rows"]
    assert (listed["pipeline"], listed["step"]) == ("join", "acme_steps.ask_for_nick")
    assert f"svcctl pipeline resume {listed['id']}" in done.stderr
    again = ran(svcctl, "resume", listed["id"], "--set", "nick=countess")
    assert (again["outcome"], again["user"]) == ("done", "countess")
    assert [step["step"] for step in again["trace"]] == list(PAUSED[5:])
    assert one.rows("SELECT * FROM partials") == []


def test_without_what_it_waits_for_it_pauses_again_under_a_new_id(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*PAUSED)
    first = paused(svcctl)
    second = ran(svcctl, "resume", first, code=6)["partial"]["id"]
    assert second != first
    assert [row["id"] for row in one.rows("SELECT id FROM partials")] == [second]


def test_pause_names_what_to_give(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    club(*STEPS, "acme_steps:pause")
    done = svcctl("pipeline", "run", "join", "-r", "me.json")
    assert "paused at acme_steps:pause: who confirms it?" in done.stdout
    assert done.stderr.rstrip().endswith("--set confirmed_by=…")
    (listed,) = json.loads(svcctl("pipeline", "partials", "--json").stdout)["rows"]
    # By then she is a user, and the pause is about her.
    assert (listed["user"], listed["needs"]) == ("ada", ["confirmed_by"])
    assert ran(svcctl, "resume", listed["id"], "--set", "confirmed_by=bob")["user"] == "ada"


def test_every_type_comes_back_and_what_cannot_is_named_and_nothing_is_kept(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*STEPS, "acme_steps.remember_much", "acme_steps:pause", "acme_steps.check_much")
    assert ran(svcctl, "resume", paused(svcctl), "--set", "confirmed_by=x")["outcome"] == "done"
    before = kept(one)
    one.configure(
        (one.folder / "svcctl.toml").read_text().replace("remember_much", "remember_object")
    )
    done = ran(svcctl, "run", "join", "-r", "me.json", code=1)
    assert "profile.photo" in done["error"]
    assert kept(one) == before


def test_social_core_s_own_decorator_pauses_too_and_loses_nothing(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club(*STEPS, "acme_steps.remember_much", "acme_steps.theirs", "acme_steps.check_much")
    assert ran(svcctl, "resume", paused(svcctl), "--set", "go=1")["outcome"] == "done"


def test_save_status_to_session_goes_on_behind_it_and_the_session_knows_the_backend(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    club(
        *STEPS,
        "social.pipeline.partial.save_status_to_session",
        "acme_steps.old_way",
        "acme_steps.session_backend",
    )
    with pytest.warns(DeprecationWarning, match="use @partial"):
        id_ = paused(svcctl)
    done = ran(svcctl, "resume", id_, "--set", "go=1")
    assert done["context"]["paused_with"] == "github"
    assert done["trace"][0]["step"] == "acme_steps.old_way"


def test_what_was_saved_is_encrypted_and_bound_to_its_row(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*PAUSED)
    first, second = paused(svcctl), paused(svcctl)
    (row,) = one.rows("SELECT data FROM partials WHERE id = :id", id=first)
    assert TOKEN not in row["data"]
    assert "ada" not in row["data"]
    one.execute("UPDATE partials SET data = :data WHERE id = :id", data=row["data"], id=second)
    done = svcctl("pipeline", "resume", second)
    assert (done.exit_code, "does not decrypt" in done.stderr) == (74, True)


def test_a_changed_pipeline_is_refused_with_what_changed(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*PAUSED)
    id_ = paused(svcctl)
    text = (one.folder / "svcctl.toml").read_text()
    one.configure(text.replace('"social_details", ', '"social_details", "debug", '))
    done = svcctl("pipeline", "resume", id_, "--set", "nick=x")
    assert done.exit_code == 7
    assert "pipeline join has changed since (+debug)" in done.stderr
    assert "--accept-changes" in done.stderr
    one.configure(text.replace('"acme_steps.ask_for_nick", ', ""))
    done = svcctl("pipeline", "resume", id_, "--accept-changes")
    assert (done.exit_code, "is not in it any more" in done.stderr) == (7, True)
    # A shorter list never starts again at its first step, nor one step further on.
    one.configure(text.replace('"social_details", ', "").replace('"social_names", ', ""))
    again = ran(svcctl, "resume", id_, "--set", "nick=x", "--accept-changes")
    assert again["trace"][0]["step"] == "acme_steps.ask_for_nick"


def test_an_expired_one_is_refused_and_goes_with_the_next_run(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*PAUSED)
    id_ = paused(svcctl)
    one.execute("UPDATE partials SET expires_at = '2020-01-01T00:00:00Z'")
    done = svcctl("pipeline", "resume", id_)
    assert (done.exit_code, "expired at 2020" in done.stderr) == (7, True)
    paused(svcctl)
    assert one.rows("SELECT * FROM partials WHERE id = :id", id=id_) == []


def test_a_removed_user_is_refused_and_nobody_goes_on_as_nobody(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*STEPS, "acme_steps:pause")
    id_ = paused(svcctl)
    assert svcctl("users", "remove", "ada", "--yes", "--no-sync").exit_code == 0
    done = svcctl("pipeline", "resume", id_, "--set", "confirmed_by=x")
    assert (done.exit_code, "ada was removed" in done.stderr) == (7, True)
    assert len(one.rows("SELECT id FROM users")) == 1
    assert svcctl("users", "forget", "ada", "--yes").exit_code == 0
    assert one.rows("SELECT * FROM partials") == []
    assert one.rows("SELECT * FROM associations") == []


def test_it_is_bound_to_its_user(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    club(*STEPS, "acme_steps:pause")
    id_ = paused(svcctl)
    assert svcctl("users", "add", "eve", "--no-sync").exit_code == 0
    done = svcctl("pipeline", "resume", id_, "--user", "eve", "--set", "confirmed_by=x")
    assert (done.exit_code, "about ada, not about eve" in done.stderr) == (7, True)
    assert ran(svcctl, "resume", id_, "--user", "ada", "--set", "confirmed_by=x")["user"] == "ada"


def test_a_failed_resume_keeps_it_and_counts(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    one = club(*PAUSED, "acme_steps.fail")
    id_ = paused(svcctl)
    assert svcctl("pipeline", "resume", id_, "--set", "nick=x").exit_code == 1
    assert svcctl("pipeline", "resume", id_, "--set", "nick=x").exit_code == 1
    assert one.rows("SELECT id, attempts FROM partials") == [{"id": id_, "attempts": 2}]
    assert one.rows("SELECT * FROM users") == []


def test_it_is_given_up(club: "Callable[..., Site]", svcctl: "Svcctl") -> None:
    one = club(*PAUSED)
    id_ = paused(svcctl)
    assert svcctl("pipeline", "abort", id_, "--dry-run").exit_code == 0
    assert len(one.rows("SELECT id FROM partials")) == 1
    assert svcctl("pipeline", "abort", id_).exit_code == 0
    assert kept(one) == NOTHING
    assert svcctl("pipeline", "abort", id_).exit_code == 2


def test_a_dry_run_of_a_resume_uses_nothing_up(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    one = club(*PAUSED)
    id_ = paused(svcctl)
    before = kept(one)
    done = ran(svcctl, "resume", id_, "--set", "nick=x", "--dry-run")
    assert "would add the user x" in done["would"]
    assert kept(one) == before


def test_of_two_shells_one_goes_on_and_the_other_is_told(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    import acme_steps  # type: ignore[import-not-found]

    club(*PAUSED, "acme_steps.meanwhile")
    id_ = paused(svcctl)
    told: list[Any] = []

    def other_shell() -> None:
        told.append(svcctl("pipeline", "resume", id_, "--set", "nick=other"))

    acme_steps.acts.append(other_shell)
    assert ran(svcctl, "resume", id_, "--set", "nick=first")["user"] == "first"
    assert told[0].exit_code == ExitCode.TRY_LATER
    assert f"partial {id_} is being resumed" in told[0].stderr
    assert svcctl("pipeline", "resume", id_).exit_code == 2


def test_of_two_at_the_same_moment_only_one_is_kept(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    """Without the lock, which another machine on the same database server would not see."""
    import acme_steps

    one = club(*PAUSED, "acme_steps.meanwhile")
    id_ = paused(svcctl)
    acme_steps.acts.append(lambda: one.execute("DELETE FROM partials WHERE id = :id", id=id_))
    done = ran(svcctl, "resume", id_, "--set", "nick=x", code=7)
    assert done["error"] == f"partial {id_} was resumed by somebody else"
    assert one.rows("SELECT * FROM users") == []


# Tokens


def test_a_token_goes_on_only_where_the_step_means_it_and_after_a_confirmation(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    import acme_steps

    acme_steps.sent.clear()
    one = club(*STEPS[:5], "acme_steps.ask_outside", *STEPS[5:])
    id_ = paused(svcctl)
    (token,) = acme_steps.sent
    assert token not in json.dumps(one.rows("SELECT * FROM partials"))
    done = svcctl("pipeline", "resume", token, "--set", "nick=x")
    assert (done.exit_code, "not confirmed" in done.stderr) == (7, True)
    assert token not in done.stdout + done.stderr
    done = svcctl("pipeline", "resume", token, "--set", "nick=x", stdin="n\n")
    assert (done.exit_code, "not confirmed" in done.stderr) == (7, True)
    assert [row["id"] for row in one.rows("SELECT id FROM partials")] == [id_]
    assert ran(svcctl, "resume", token, "--set", "nick=x", "--yes")["user"] == "x"
    assert svcctl("pipeline", "resume", token, "--yes").exit_code == 2


def test_a_token_of_a_run_that_is_the_operator_s_is_refused(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    import acme_steps

    acme_steps.sent.clear()
    one = club(*STEPS[:5], "acme_steps.ask_inside", *STEPS[5:])
    paused(svcctl)
    done = svcctl("pipeline", "resume", acme_steps.sent[0], "--set", "nick=x", "--yes")
    assert (done.exit_code, "it is the operator's" in done.stderr) == (7, True)
    assert len(one.rows("SELECT id FROM partials")) == 1


# Disconnecting


def test_a_paused_disconnect_goes_on_where_it_stopped_and_the_last_way_in_stays(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    leave = pipeline(
        "allowed_to_disconnect",
        "acme_steps:pause",
        "get_entries",
        "disconnect",
        kind="disconnect",
        name="leave",
    )
    one = club(more=leave)
    ran(svcctl, "run", "join", "-r", "me.json")
    done = ran(svcctl, "run", "leave", "--user", "ada", code=7)
    assert done["code"] == "disconnect_disallowed"
    text = (one.folder / "svcctl.toml").read_text()
    table = "[pipelines.leave.settings]\n"
    one.configure(text.replace(table, f'{table}ALLOWED_TO_DISCONNECT_FUNCTION = "acme_steps.x"\n'))
    assert svcctl("pipeline", "run", "leave", "--user", "ada").exit_code == ExitCode.CONFIG
    one.configure(text.replace(table, f"{table}ALLOW_LAST_DISCONNECT = true\n"))
    id_ = ran(svcctl, "run", "leave", "--user", "ada", code=6)["partial"]["id"]
    again = ran(svcctl, "resume", id_, "--set", "confirmed_by=bob")
    assert [step["step"] for step in again["trace"]] == [
        "acme_steps:pause",
        "get_entries",
        "disconnect",
    ]
    assert one.rows("SELECT * FROM associations") == []
    assert svcctl("pipeline", "run", "leave").exit_code == 2


def test_the_policy_of_the_site_decides_who_may_disconnect(
    club: "Callable[..., Site]", svcctl: "Svcctl"
) -> None:
    leave = pipeline(
        settings='ALLOWED_TO_DISCONNECT_FUNCTION = "acme_steps.never_allowed"',
        kind="disconnect",
        name="leave",
    ).replace("steps = []\n", "")
    one = club(more=leave)
    for number, name in enumerate(("ada", "boss")):
        one.write("me.json", json.dumps({**ME, "id": number, "login": name}))
        ran(svcctl, "run", "join", "-r", "me.json")
    assert svcctl("pipeline", "run", "leave", "--user", "ada").exit_code == 7
    assert svcctl("pipeline", "run", "leave", "--user", "boss").exit_code == 0
    assert len(one.rows("SELECT id FROM associations")) == 1
