"""Everything that decides about one user's account on one service: the answer of `svcctl why`."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from svcctl.commands.session import Session
from svcctl.errors import SvcctlError, UsageError
from svcctl.model import OperationStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from svcctl.hooks.contract import ServiceHook
    from svcctl.hooks.registry import Hooks
    from svcctl.model import Account, UndoPin, User
    from svcctl.runs.pins import Pins


def facts(session: Session, username: str, service: str) -> dict[str, Any]:
    """The body of `svcctl.why/1`. Raises UsageError for an unknown user or service."""
    from svcctl.runs.pins import look
    from svcctl.store.accounts import find
    from svcctl.store.dossier import as_hooks_see
    from svcctl.store.operations import waiting
    from svcctl.store.people import details, find_user
    from svcctl.store.runs import paused

    hooks = _loaded(session, service)
    hook = hooks.loaded[service]
    rules = session.settings.state_rules()
    with session.database.read() as connection:
        row = find_user(connection, username)
        person = details(connection, row)
        user = as_hooks_see(connection, row.id, rules)
        account = next(iter(find(connection, user_id=user.id, service=service)), None)
        opened = waiting(connection, account.id) if account and account.id else []
        pause = paused(connection).get(service)
        standing = look(connection, hooks.loaded, frozenset({user.id}), {user.id: user.state})
        return {
            "user": username,
            "service": service,
            **_access(hook, user),
            "directory": _directory(person, user, json.loads(row.origins), session),
            **_names(hook, user, account),
            "account": _account(hook, account, standing),
            "create": hook.config.create,
            "protected": username in session.settings.protected | hook.config.protected,
            "paused": pause and {key: pause[key] for key in ("since", "actor", "reason")},
            "open": [_operation(operation) for operation in opened],
            **_next(session, hooks, connection, user, opened),
        }


def _loaded(session: Session, service: str) -> "Hooks":
    from svcctl.config.problems import suggest

    if service not in session.settings.services:
        hint = suggest(service, session.settings.services) or "no service is configured"
        raise UsageError(f"no such service: {service}", hint=hint)
    hooks = session.hooks([service])
    if service in hooks.failed:
        raise hooks.failed[service]
    return hooks


def _asked(question: Callable[[], Any]) -> tuple[Any, str | None]:
    """A hook's answer, or what kept it from giving one."""
    try:
        return question(), None
    except SvcctlError as error:
        return None, error.message
    except Exception as error:  # noqa: BLE001 - a hook is foreign code, and its failure an answer
        return None, f"the hook failed: {type(error).__name__}: {error}"


def _access(hook: "ServiceHook", user: "User") -> dict[str, Any]:
    from svcctl.hooks.contract import keeps_default

    allowed, problem = _asked(lambda: hook.service_active_for_user(user))
    told, also = _asked(lambda: hook.explain_access(user))
    default = keeps_default(hook, "explain_access")
    if default and not keeps_default(hook, "service_active_for_user"):
        # The sentence is about the table `access`, which this hook need not go by.
        told = f"{type(hook).__name__} decides"
    return {"allowed": bool(allowed), "access": problem or also or told}


def _directory(
    person: Mapping[str, Any], user: "User", origins: Mapping[str, str], session: Session
) -> dict[str, Any]:
    from svcctl.directory.states import explain

    reason = explain(
        session.settings.state_rules(),
        username=user.username,
        active=user.active,
        groups=user.groups,
        attributes=user.attributes,
    )
    source = person["source"] or "operator"
    kept = ("active", "superuser", "source", "source_id", "missing_pulls", "removed_at")
    return {
        **{key: person[key] for key in kept},
        "state": user.state,
        "state_reason": reason,
        "attributes": {
            key: {"value": value, "origin": origins.get(f"attributes.{key}", source)}
            for key, value in sorted(user.attributes.items())
        },
        "groups": person["groups"],
        "kept_out_of": person["kept_out_of"],
    }


def _names(hook: "ServiceHook", user: "User", account: "Account | None") -> dict[str, Any]:
    """What it is called and in which groups: as the hook wants it, and as svcctl last put it."""
    from svcctl.model import Verb

    there = account if account and not account.absent else None
    name, no_name = _asked(lambda: hook.username_for(user))
    nickname, no_nickname = _asked(lambda: hook.nickname_for(user))
    groups, no_groups = _asked(lambda: sorted(hook.groups_for(user)))
    return {
        "name": {"wanted": name, "is": there and there.name, "problem": no_name},
        "nickname": {
            "managed": hook.config.sync_names and hook.can(Verb.SET_NICKNAME),
            "wanted": nickname,
            "is": there and there.nickname,
            "problem": no_nickname,
        },
        "groups": {
            "managed": hook.config.groups.enabled and hook.can(Verb.CHANGE_GROUPS),
            "wanted": groups,
            "are": there and sorted(there.groups),
            "problem": no_groups,
        },
    }


def _account(hook: "ServiceHook", account: "Account | None", pins: "Pins") -> dict[str, Any] | None:
    from svcctl.clock import parse_stamp, stamp

    if account is None:
        return None
    after = hook.removal.delete_after
    grace = None
    if account.disabled and account.disabled_at and after is not None:
        grace = stamp(parse_stamp(account.disabled_at) + after)
    return {
        "status": account.status.value,
        "uid": account.uid,
        "pin": account.pin,
        "undo_pin": _undo_pin(pins.standing.get(account.id or 0)),
        "disabled_at": account.disabled_at,
        "grace_until": grace,
    }


def _undo_pin(pin: "UndoPin | None") -> dict[str, Any] | None:
    """Which undo put something back that runs leave so, and what."""
    if pin is None or not pin.keeps:
        return None
    return {"by": pin.by, "keeps": sorted(pin.keeps)}


def _operation(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "run": row["run_id"],
        "operation": row["verb"],
        "args": json.loads(row["args"]),
        "status": row["status"],
        "reason": row["reason"],
        "attempts": row["attempts"],
        "next_attempt_at": row["next_attempt_at"],
        "error": row["error"],
    }


def _next(
    session: Session,
    hooks: "Hooks",
    connection: "Connection",
    user: "User",
    opened: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What a sync of this user would do about the account, and what keeps it from doing more."""
    from svcctl.runs.engine import Options, Site, run
    from svcctl.store.census import Selection
    from svcctl.tasks.task import SYNC

    site = Site(session.settings, session.database, hooks)
    try:
        report = run(
            site,
            SYNC,
            Selection(frozenset({user.id})),
            list(hooks.loaded),
            Options(dry_run=True, command="why"),
            connection=connection,
        )
    except SvcctlError as error:
        return {"next": [], "notes": [], "problems": [_problem(error.message, error.hint)]}
    told = [(planned.verdict, planned.because) for planned in report.plan.accounts]
    notes = [note.message for note in report.plan.notes if note.username == user.username]
    notes.extend(because for verdict, because in told if verdict == "held")
    notes.extend(f"{verb} of an interrupted run: {text}" for _, verb, text in report.verified)
    rows = list(report.rows())
    held = {row["verb"] for row in opened if row["status"] == OperationStatus.HELD}
    if any(row["operation"] in held and row["status"] == "planned" for row in rows):
        # The limits of this one user's plan are not those of everybody's.
        notes.append("held before: a sync of everybody may hold it again; see: svcctl holds list")
    keys = ("operation", "args", "status", "reason", "before", "after")
    return {
        "next": [{key: row[key] for key in keys} for row in rows],
        "notes": notes,
        "problems": [
            _problem(problem.message, problem.hint)
            for problem in (*report.problems, *report.plan.problems)
            if problem.code
        ],
    }


def _problem(message: str, hint: str | None) -> dict[str, Any]:
    return {"message": message, "hint": hint}
