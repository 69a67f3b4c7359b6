"""Lanes: per service a queue of jobs, the threads that work on them, their pace and their retries.

Workers speak to managers and to nothing else; what they find goes to the one writer (`apply`).
"""

import queue
import random
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from svcctl.config.service import read_rate
from svcctl.errors import (
    Conflict,
    ExitCode,
    Incomplete,
    ManagerError,
    NotFound,
    RateLimited,
    Transient,
)
from svcctl.hooks.contract import ServiceHook
from svcctl.hooks.manager import Manager, NewAccount, RateLimit, RemoteAccount, capabilities
from svcctl.model import NOTHING, Account, Outcome, Verb
from svcctl.runs.journal import Job, Step

ATTEMPTS = 3
"""How often a run tries an operation that fails in passing; later runs go on with back-off."""
FIRST_PAUSE = 0.5
"""Seconds before the second try; doubled for each further one, with jitter."""
LONGEST_WAIT = 300.0
"""A Retry-After beyond this many seconds is left to a later run."""
PATIENCE = 5
"""So many accounts in a row that fail for the service's sake end its lane for this run."""


class Stop:
    """Why and whether the run should end early; waits are cut short by it."""

    def __init__(self, deadline: float | None = None) -> None:
        self._event = threading.Event()
        self.code: ExitCode | None = None
        self.deadline = deadline

    def now(self, code: ExitCode) -> None:
        """Finish what is in flight and begin nothing new."""
        if self.code is None:
            self.code = code
        self._event.set()

    def asked(self) -> bool:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.now(ExitCode.TRY_LATER)
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep; True when the run should end."""
        if self.deadline is not None:
            seconds = min(seconds, max(0.0, self.deadline - time.monotonic()))
        return self._event.wait(seconds) or self.asked()


class Pacer:
    """At most `calls` in any window of `per` seconds, and none before `until`; for many threads."""

    def __init__(self, rate: RateLimit | None) -> None:
        self._calls = 0
        self._window = 0.0
        if rate is not None:
            # Half a call a second is one call in two seconds.
            self._calls = max(1, int(rate.calls))
            self._window = rate.per * max(1.0, 1 / rate.calls)
        self._sent: deque[float] = deque()
        self._until = 0.0
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        """The service asked for a break: nobody calls before it is over."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, stop: Stop) -> bool:
        """Wait for this caller's turn; True when the run should end instead."""
        while True:
            with self._lock:
                pause = self._turn(time.monotonic())
            if pause <= 0:
                return stop.asked()
            if stop.wait(pause):
                return True

    def _turn(self, moment: float) -> float:
        if moment < self._until:
            return self._until - moment
        if not self._calls:
            return 0
        while self._sent and self._sent[0] <= moment - self._window:
            self._sent.popleft()
        if len(self._sent) >= self._calls:
            return self._sent[0] + self._window - moment + 0.001
        self._sent.append(moment)
        return 0


NO_MORE = Outcome()
"""The remote said no more than yes."""
_NEVER_SEEN = frozenset({Verb.CREATE, Verb.SET_PASSWORD})
"""What cannot be seen of an account: a create is looked for in ways of its own."""


class Kind(StrEnum):
    """How a step ended, as a worker sees it."""

    FREE = "free"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    STOPPED = "stopped"


@dataclass(slots=True)
class Result:
    """What a worker hands to the writer. FREE: a look proved the name free, create comes next."""

    lane: "Lane"
    job: Job
    step: Step
    kind: Kind
    outcome: Outcome = NO_MORE
    error: ManagerError | None = None
    gone: bool = False
    password: str | None = field(default=None, repr=False)


def external_id(account: Account) -> str:
    """Our key for the account's user, stored on the service where it can keep one."""
    return key_of(account.user_id)


def key_of(user_id: int) -> str:
    return f"svcctl:{user_id}"


def user_of(key: str | None) -> int | None:
    """The id of the user whose key this is; None for keys of others."""
    found = _KEY.fullmatch(key or "")
    return int(found[1]) if found and int(found[1]) < 2**31 else None


_KEY = re.compile(r"svcctl:([1-9][0-9]{0,9})")


def rate_of(hook: ServiceHook, manager: Manager) -> RateLimit | None:
    """The configured rate ("5/s", "250/48h"), else the manager's."""
    if hook.config.rate is None:
        return manager.rate
    return RateLimit(*read_rate(hook.config.rate))


def width_of(hook: ServiceHook, manager: Manager, work: int) -> int:
    """How many threads for so many pieces of work: never more than the manager allows."""
    declared = manager.concurrency
    return max(1, min(hook.config.concurrency or declared, declared, work))


class Lane:
    """One service's share of a run."""

    def __init__(
        self,
        hook: ServiceHook,
        manager: Manager,
        jobs: list[Job],
        *,
        stop: Stop,
        results: "queue.SimpleQueue[Result]",
        passwords: Callable[[Job], str | None],
        suspicious: bool,
    ) -> None:
        """suspicious: an earlier run ended uncleanly, so creates look first."""
        self.hook = hook
        self.service = hook.name
        self.manager = manager
        self.jobs = deque(jobs)
        self.stop = stop
        self.results = results
        self.passwords = passwords
        self.in_a_row = 0
        self.gave_up: ManagerError | None = None
        self.can = capabilities(type(manager))
        self.pacer = Pacer(rate_of(hook, manager))
        self.width = width_of(hook, manager, len(jobs))
        self._look_first = "find_account" in self.can and (
            suspicious or not manager.stores_external_id
        )
        self._work: queue.SimpleQueue[tuple[Job, Step] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._labour, name=f"{self.service}-{n}", daemon=True)
            for n in range(self.width)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def give(self, job: Job, step: Step) -> None:
        self._work.put((job, step))

    def close(self, patience: float = 5.0) -> None:
        """Send the threads home; one that hangs in a call is left behind."""
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + patience
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _labour(self) -> None:
        while (work := self._work.get()) is not None:
            job, step = work
            try:
                result = self._attempt(job, step)
            except ManagerError as error:
                result = self._failure(job, step, error)
            except BaseException as error:  # noqa: BLE001 - a manager is foreign code
                step.attempts += 1
                result = self._failure(job, step, error)
            self.results.put(result)

    def _failure(self, job: Job, step: Step, error: BaseException) -> Result:
        """FAILED where it is known that nothing was done; UNKNOWN: the next run looks first."""
        unknown = step.doubtful
        if not isinstance(error, ManagerError):
            unknown = not self._looks_now(step)
            error = ManagerError(_said(error))
        if step.operation.verb is Verb.SET_PASSWORD:
            unknown = False
        return Result(self, job, step, Kind.UNKNOWN if unknown else Kind.FAILED, error=error)

    def _looks_now(self, step: Step) -> bool:
        """Whether the step, a create, begins with a look: nothing has been sent yet."""
        return step.operation.verb is Verb.CREATE and self._look_first and not step.looked

    def _attempt(self, job: Job, step: Step) -> Result:
        """Do the step, again and again while that can help and is safe."""
        if self._looks_now(step):
            return self._retried(job, step, self._look, lost=False)
        return self._retried(job, step, self._do, lost=step.operation.verb is Verb.CREATE)

    def _retried(
        self, job: Job, step: Step, call: Callable[[Job, Step], Result], *, lost: bool
    ) -> Result:
        pause = FIRST_PAUSE
        tries = 0
        waited = 0.0
        while True:
            if self.pacer.wait(self.stop):
                return self._stopped(job, step)
            try:
                return call(job, step)
            except RateLimited as error:
                step.doubtful = step.doubtful or _in_parts(step)
                wait = max(0.05, pause if error.retry_after is None else error.retry_after)
                waited += wait
                if waited > LONGEST_WAIT:
                    step.attempts += 1
                    if lost and (found := self._after_lost_create(job, step, error)) is not None:
                        return found
                    step.doubtful = step.doubtful or not self._came_to_nothing(job, step)
                    raise
                self.pacer.pause(wait)
                if error.retry_after is None:
                    pause *= 2
                continue
            except ManagerError as error:
                tries += 1
                step.attempts += 1
                if lost:
                    found = self._after_lost_create(job, step, error)
                    if found is not None:
                        return found
                if not error.retry:
                    step.doubtful = step.doubtful or not self._came_to_nothing(job, step)
                    raise
                if step.operation.verb is not Verb.CREATE:
                    step.doubtful = True
                if tries >= ATTEMPTS:
                    raise
            if self.stop.wait(pause * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                return self._stopped(job, step)
            pause *= 2

    def _stopped(self, job: Job, step: Step) -> Result:
        """The run ends before the step is done."""
        if step.doubtful:
            return self._failure(job, step, Transient("the run ended before there was an answer"))
        return Result(self, job, step, Kind.STOPPED)

    def _came_to_nothing(self, job: Job, step: Step) -> bool:
        """Whether the service still shows the account as it was before a step that was refused.

        A verb may take several requests: one that is refused says nothing of those before it.
        """
        verb, args, account = step.operation.verb, step.operation.args, job.account
        if verb in _NEVER_SEEN or account.uid is None or "get_account" not in self.can:
            return True
        if self.pacer.wait(self.stop):
            return False
        try:
            there = self.manager.get_account(account.uid)
        except NotFound:
            return verb is not Verb.DELETE
        except Exception:  # noqa: BLE001 - a manager is foreign code, and the step's own error is told
            return False
        match verb:
            case Verb.CHANGE_GROUPS:
                named = {*args["add"], *args["remove"]}
                return there.groups is not None and not named & (there.groups ^ account.groups)
            case Verb.SET_NICKNAME:
                return there.nickname in (None, account.nickname)
        return there.active is not account.disabled

    def _after_lost_create(self, job: Job, step: Step, error: ManagerError) -> Result | None:
        """A create got no answer, or no yes: find it, or prove that it did not happen; never guess.

        A refusal may be that of a second request, when the first has made the account.
        None: it is not there, and safe to send again.
        """
        lost = isinstance(error, (Transient, Incomplete))
        if "find_account" not in self.can or not (self.manager.stores_external_id or step.looked):
            return Result(self, job, step, Kind.UNKNOWN, error=error) if lost else None
        try:
            result = self._retried(job, step, self._look, lost=False)
        except Conflict as second:
            # The name is somebody else's: the create was refused.
            return Result(self, job, step, Kind.UNKNOWN, error=second) if lost else None
        except ManagerError as second:
            told = second if lost else error
            return Result(self, job, step, Kind.UNKNOWN, error=told)
        if result.kind is Kind.STOPPED:
            return Result(self, job, step, Kind.UNKNOWN, error=error)
        return None if result.kind is Kind.FREE else result

    def _look(self, job: Job, step: Step) -> Result:
        name = step.operation.args["name"]
        found = self.manager.find_account(external_id(job.account), name)
        if found is None:
            return Result(self, job, step, Kind.FREE)
        if is_ours(found, job.account, self.manager, looked=step.looked):
            if other := renamed(self.hook, name, found.name, found.uid):
                raise other
            return Result(
                self, job, step, Kind.DONE, Outcome(uid=found.uid, data=found.data, note="found")
            )
        raise Conflict(
            f"an account named {found.name!r} (uid {found.uid}) exists that svcctl did not create",
            hint="if it is this user's: svcctl accounts link",
        )

    def _do(self, job: Job, step: Step) -> Result:
        manager, account, operation = self.manager, job.account, step.operation
        args = operation.args
        outcome = NO_MORE
        gone = False
        password = None
        if operation.verb is Verb.CREATE:
            outcome = self._create(account, args["name"], dict(args.get("attributes", NOTHING)))
        else:
            assert account.uid is not None
            uid = account.uid
            match operation.verb:
                case Verb.ENABLE:
                    manager.enable_account(uid)
                case Verb.DISABLE:
                    gone = _unless_found(manager.disable_account, uid)
                case Verb.DELETE:
                    gone = _unless_found(manager.delete_account, uid)
                case Verb.SET_PASSWORD:
                    password = self.passwords(job) or new_password()
                    manager.set_password(uid, password)
                case Verb.SET_NICKNAME:
                    manager.set_nickname(uid, args["nickname"])
                case Verb.CHANGE_GROUPS:
                    changed = manager.change_groups(
                        uid, frozenset(args["add"]), frozenset(args["remove"])
                    )
                    outcome = Outcome(added=changed.added, removed=changed.removed)
        if gone:
            outcome = Outcome(note="the account was gone already")
        return Result(self, job, step, Kind.DONE, outcome, gone=gone, password=password)

    def _create(self, account: Account, name: str, attributes: dict[str, object]) -> Outcome:
        created = self.manager.create_account(
            NewAccount(
                name=name,
                external_id=external_id(account),
                password=new_password(),
                attributes=attributes,
            )
        )
        if other := renamed(self.hook, name, created.name, created.uid):
            raise other
        return Outcome(uid=created.uid, data=created.data)


def _in_parts(step: Step) -> bool:
    """Whether an error may mean that only the first part was done: most services change groups one
    after the other.
    """
    args = step.operation.args
    return step.operation.verb is Verb.CHANGE_GROUPS and len(args["add"]) + len(args["remove"]) > 1


def new_password() -> str:
    """144 random bits, with upper and lower case and a digit, as some services demand it."""
    while True:
        password = secrets.token_urlsafe(18)
        if all(any(map(kind, password)) for kind in (str.isupper, str.islower, str.isdigit)):
            return password


def renamed(hook: ServiceHook, name: str, given: str, uid: str) -> Conflict | None:
    """What is wrong when the service gave another name than was asked for."""
    if hook.username_rule.key(given) == hook.username_rule.key(name):
        return None
    return Conflict(
        f"the service created {given!r} (uid {uid}) instead of {name!r}",
        hint="remove that account on the service, or link it: svcctl accounts link",
    )


def is_ours(found: RemoteAccount, account: Account, manager: Manager, *, looked: bool) -> bool:
    """Whether an account that was found is the one that we created.

    By our external id where the service keeps one; by name only after a look had proved it free.
    """
    if manager.stores_external_id:
        return found.external_id == external_id(account)
    return looked


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - foreign down to its __str__
        return type(error).__name__


def _unless_found(call: Callable[[str], None], uid: str) -> bool:
    """Whether the account was gone already, which is what a removal wants."""
    try:
        call(uid)
    except NotFound:
        return True
    return False
