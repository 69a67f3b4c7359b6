"""The answer of `svcctl why` in sentences; the first one says yes or no, and why."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from svcctl.commands.report import change


def sentences(known: Mapping[str, Any]) -> Iterator[str]:
    user, service = known["user"], known["service"]
    may = "may" if known["allowed"] else "may not"
    yield f"{user} {may} have an account on {service}: {known['access']}"
    yield from _about_person(user, known["directory"])
    yield from _about_account(user, service, known)
    yield from _about_names(known)
    for operation in known["open"]:
        yield _about_open(operation)
    if known["protected"]:
        yield f"{user} is protected: no run disables or deletes the account"
    if pause := known["paused"]:
        because = f": {pause['reason']}" if pause["reason"] else ""
        yield f"{service} is paused since {pause['since']} by {pause['actor']}{because}"
    yield from _about_next(user, service, known)


def _about_person(user: str, person: Mapping[str, Any]) -> Iterator[str]:
    yield f"{user} {person['state_reason']}: state {person['state']}"
    if person["removed_at"]:
        yield f"{user} was removed by an operator at {person['removed_at']}"
    if person["missing_pulls"]:
        pulls = f"{person['missing_pulls']} pull{'' if person['missing_pulls'] == 1 else 's'}"
        yield f"{user} was missing from the last {pulls} of source {person['source']}"
    if person["superuser"]:
        yield f"{user} is a superuser"
    where = f"source {person['source']} (id {person['source_id']})"
    yield f"the directory has {user} from {where if person['source'] else 'an operator'}"
    for key, attribute in person["attributes"].items():
        value = json.dumps(attribute["value"], ensure_ascii=False)
        yield f"  {key} = {value} ({attribute['origin']})"
    for group in person["groups"]:
        yield f"  in group {group['name']} ({group['origin']})"
    for group in person["kept_out_of"]:
        yield f"  kept out of group {group} (operator)"


def _about_account(user: str, service: str, known: Mapping[str, Any]) -> Iterator[str]:
    account, name = known["account"], known["name"]
    if account is None or account["status"] == "absent":
        yield f"{user} has no account on {service}"
        if name["problem"]:
            yield f"it could have no name: {name['problem']}"
        else:
            yield f"it would be called {name['wanted']}"
    else:
        yield f"the account {name['is']} is {account['status']}; its uid is {account['uid']}"
    if account and account["pin"]:
        yield f"the account is pinned: {account['pin']}; no run changes whether it is active"
    if account and (pin := account["undo_pin"]):
        whole = "access" in pin["keeps"]
        kept = "the account stays" if whole else f"its {' and '.join(pin['keeps'])} stay"
        yield (
            f"{kept} as {pin['by']} left {'it' if whole else 'them'}, until the state or the groups"
            f" of {user} change, or what the rules want; to end that now: "
            f"svcctl accounts hold {user} --service {service} --release"
        )
    if account and account["disabled_at"]:
        until = account["grace_until"]
        end = f", and deleted at the first run after {until}" if until else ", and kept for ever"
        yield f"it was disabled at {account['disabled_at']}{end}"


def _about_names(known: Mapping[str, Any]) -> Iterator[str]:
    nickname, groups = known["nickname"], known["groups"]
    if not nickname["managed"]:
        yield "its nickname is left alone"
    elif nickname["problem"]:
        yield f"it could have no nickname: {nickname['problem']}"
    else:
        now = "" if nickname["is"] is None else f"; last set to {nickname['is'] or '(none)'}"
        yield f"its nickname should be {nickname['wanted'] or '(left as it is)'}{now}"
    if not groups["managed"]:
        yield "its groups are left alone"
    elif groups["problem"]:
        yield f"its groups are not known: {groups['problem']}"
    else:
        now = "" if groups["are"] is None else f"; last put into {_listed(groups['are'])}"
        yield f"its groups should be {_listed(groups['wanted'])}{now}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "(none)"


def _about_open(operation: Mapping[str, Any]) -> str:
    what = f"{operation['operation']} of run {operation['run']} is {operation['status']}"
    if operation["next_attempt_at"]:
        what += f", to be tried again after {operation['next_attempt_at']}"
    return f"{what}: {operation['error'] or operation['reason']}"


def _about_next(user: str, service: str, known: Mapping[str, Any]) -> Iterator[str]:
    for note in known["notes"]:
        yield f"note: {note}"
    for problem in known["problems"]:
        yield f"problem: {problem['message']}"
        if problem["hint"]:
            yield f"hint: {problem['hint']}"
    for row in known["next"]:
        changed = f" {change(row)}" if change(row) else ""
        held = " (held)" if row["status"] == "held" else ""
        yield f"sync {user} would now {row['operation']}{changed}{held}: {row['reason']}"
    if known["next"]:
        return
    account = known["account"]
    absent = account is None or account["status"] == "absent"
    if known["paused"]:
        yield f"sync {user} would do nothing until: svcctl services resume {service}"
    elif absent and known["allowed"] and known["create"] == "manual":
        command = f"svcctl accounts create {user} --service {service}"
        yield f'sync {user} would do nothing: create = "manual"; to create it: {command}'
    else:
        yield f"sync {user} would do nothing now"
