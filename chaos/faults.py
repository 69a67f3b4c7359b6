"""The fault matrix: real servers behind ways that fail, and what no fault may lead to.

A trial is a random world: people come, leave and change while commands run and the way to a server
fails. After every command it is looked past svcctl at what is really there. Then the faults stop,
and after a few runs everybody must have what the source says, once.
"""

import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaos import far
from chaos.club import ANCHOR, NAMES, Club
from chaos.matrix import WORKERS, Matrix, Row, Task, Watch, spread
from chaos.trial import Tally, Trial
from chaos.trouble import Trouble, http_trouble, ldap_trouble
from svcctl.config.load import load
from svcctl.hooks.testing.proxy import proxied
from svcctl.http import client, pace
from svcctl.runs import lane
from svcctl.store.database import Database
from svcctl.store.migrate import upgrade
from tests.live import ldap_servers
from tests.live.ldap_servers import Directory, openldap
from tests.scim.remote import Remote
from tests.scim.server import TOKEN, fresh_base, scim2_server
from tests.support.ldap_proxy import ldap_proxied

WHOLE = 100
"""Trials of each kind where nobody says how many."""
WHAT = {
    "scim": "a SCIM service",
    "scim-by-name": "a SCIM service that keeps no external ids",
    "ldap": "an OpenLDAP service",
    "scim-source": "people from SCIM",
    "ldap-source": "people from OpenLDAP",
}
KINDS = tuple(WHAT)
CONFIG = """
default_name_format = "{{character_name}}"
directory.limits.removals = "100%"

[directory.sources.people]
{source}

[states.Member]
priority = 100
groups = ["corp"]

[services.far]
{service}
create = "auto"
access.states = ["Member"]
limits.removals = "100%"
concurrency = {concurrency}
removal = "{removal}"
groups.map = {{ corp = "staff", fc = "commanders" }}
"""
CSV = 'type = "csv"\npath = "people.csv"'
SCIM_SOURCE = """type = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
page_size = 3
id = "externalId"
http.timeout = "1s"
attributes = {{ displayName = "character_name" }}"""
LDAP_SOURCE = """type = "ldap"
server = "{url}"
bind_dn = "{bind}"
bind_password = {{ env = "BIND_PASSWORD" }}
timeout = "1s"
page_size = 3
base = "{people}"
group_base = "{groups}"
id = "employeeNumber"
attributes = {{ displayName = "character_name" }}"""
SCIM = """hook = "scim"
base_url = "{base}"
token = {{ env = "SCIM_TOKEN" }}
page_size = 3
create_groups = true
external_ids = {keys}
http.timeout = "1s\""""
LDAP = """hook = "ldap"
server = "{url}"
bind_dn = "{bind}"
bind_password = {{ env = "BIND_PASSWORD" }}
timeout = "1s"
page_size = 3
base = "{people}"
group_base = "{groups}\""""
SANDBOX = 'hook = "sandbox"\npath = "far.sqlite"'


@dataclass
class Servers:
    """The real servers, started when first needed."""

    stack: ExitStack
    _scim: Any = None
    _ldap: Directory | None = None

    @property
    def scim(self) -> Any:
        if self._scim is None:
            self._scim = self.stack.enter_context(scim2_server())
        return self._scim

    @property
    def ldap(self) -> Directory:
        if self._ldap is None:
            self._ldap = self.stack.enter_context(openldap())
        return self._ldap


@contextmanager
def _impatient() -> Iterator[None]:
    """Retries that do not wait: how long a pause is plays no part here."""
    kept = lane.FIRST_PAUSE, client.FIRST_PAUSE, pace.FIRST_BREAK, pace.LONGEST_BREAK
    lane.FIRST_PAUSE, client.FIRST_PAUSE, pace.FIRST_BREAK, pace.LONGEST_BREAK = (0.002,) * 4
    try:
        yield
    finally:
        lane.FIRST_PAUSE, client.FIRST_PAUSE, pace.FIRST_BREAK, pace.LONGEST_BREAK = kept


@contextmanager
def _trial(
    kind: str, seed: int, servers: Servers, template: Path, tally: Tally
) -> Iterator[tuple[Trial, random.Random]]:
    dice = random.Random(f"{kind} {seed}")
    trouble = Trouble(random.Random(f"trouble {kind} {seed}"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="svcctl-chaos-")))
        service: far.Service = far.SandboxService(folder / "far.sqlite")
        source: far.Source = far.CsvSource(folder / "people.csv")
        tables = {"source": CSV, "service": SANDBOX}
        if kind.startswith("scim"):
            base = fresh_base()
            proxy = stack.enter_context(proxied(servers.scim.port))
            remote = Remote(servers.scim.url + base, TOKEN)
            if kind == "scim-source":
                source = far.ScimSource(remote)
                tables["source"] = SCIM_SOURCE.format(base=proxy.url + base)
            else:
                service = far.ScimService(remote)
                keys = str(kind == "scim").lower()
                tables["service"] = SCIM.format(base=proxy.url + base, keys=keys)
            http_trouble(proxy, trouble)
        else:
            directory = servers.ldap
            # Without TLS, for which every connection would read the machine's authorities anew.
            directory = replace(directory, ldaps=directory.url)
            directory.clear()
            way = stack.enter_context(ldap_proxied(directory.host, directory.port))
            given = {
                "url": way.url,
                "bind": directory.bind,
                "people": directory.people,
                "groups": directory.groups,
            }
            if kind == "ldap-source":
                source = far.LdapSource(directory)
                tables["source"] = LDAP_SOURCE.format(**given)
            else:
                service = far.LdapService(directory)
                tables["service"] = LDAP.format(**given)
            ldap_trouble(way, trouble)
        removal = dice.choice(("disable", "disable", "delete"))
        concurrency = dice.choice((1, 1, 4))
        config = CONFIG.format(**tables, removal=removal, concurrency=concurrency)
        (folder / "svcctl.toml").write_text(config)
        database = Database(load(folder / "svcctl.toml").database_url)
        stack.callback(database.close)
        assert database.path
        database.create_file()
        shutil.copyfile(template, database.path)
        club = Club(dice)
        trial = Trial(kind, seed, folder, database, service, source, club, trouble, removal, tally)
        _found(trial, dice)
        yield trial, dice
        tally.faults.update(trouble.struck)


def _found(trial: Trial, dice: random.Random) -> None:
    """The first people, a stranger in every group, and perhaps one with somebody's name."""
    first = dice.randint(4, 7)
    trial.club.found(first)
    trial.source.tell(trial.club.present.values())
    trial.service.add_stranger("stranger")
    strangers = {"stranger"}
    for group in ("staff", "commanders", "theirs"):
        trial.service.give("stranger", group)
    if dice.random() < 0.3:
        name = dice.choice(NAMES[first:])
        trial.service.add_stranger(name)
        strangers.add(name)
        trial.conflicts = frozenset({name})
    trial.strangers = frozenset(strangers)
    assert ANCHOR in trial.club.present


@dataclass(frozen=True, slots=True)
class Portion:
    """Trials of one kind that one process makes, one after the other."""

    kind: str
    seeds: range


def _explore(portion: Portion) -> tuple[str, Tally]:
    """A trial for each seed."""
    os.environ |= {"SCIM_TOKEN": TOKEN, "BIND_PASSWORD": ldap_servers.PASSWORD}
    tally = Tally()
    with ExitStack() as stack:
        stack.enter_context(_impatient())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="svcctl-chaos-")))
        template = Database(f"sqlite:///{folder}/template.db")
        upgrade(template)
        template.close()
        assert template.path
        servers = Servers(stack)
        for seed in portion.seeds:
            known = len(tally.lost)
            with _trial(portion.kind, seed, servers, template.path, tally) as (trial, dice):
                trial.live(dice)
                trial.settle()
                tally.trials += 1
                if len(tally.lost) > known:
                    print("\n".join(trial.said), file=sys.stderr, flush=True)
    return portion.kind, tally


def run(task: Task) -> list[Row]:
    """Each kind gets its share of the trials; the seed is that of the first of each."""
    kinds = [kind for kind in KINDS if "ldap" not in kind or _has_slapd()]
    if len(kinds) < len(KINDS):
        print("without LDAP: slapd is missing: apt-get install slapd", file=sys.stderr)
    count = WHOLE if task.runs is None else max(1, task.runs // len(KINDS))
    step = max(1, math.ceil(count / WORKERS))
    seeds = range(task.seed, task.seed + count)
    portions = [
        Portion(kind, seeds[at : at + step]) for kind in kinds for at in range(0, count, step)
    ]
    watch = Watch()
    tallies = {kind: Tally() for kind in kinds}
    for kind, tally in spread(_explore, portions):
        tallies[kind].add(tally)
    for kind, tally in tallies.items():
        codes = ", ".join(f"{code}: {times:,}" for code, times in sorted(tally.codes.items()))
        print(
            f"  {kind}: {tally.trials:,} trials, {tally.runs:,} runs (by exit code {codes}), "
            f"{tally.faults.total():,} faults of {len(tally.faults)} kinds; settled after "
            f"{max(tally.rounds)} syncs at most",
            file=sys.stderr,
        )
    seconds = watch.seconds / len(tallies)
    return [
        Row(f"faults: {WHAT[kind]}", tally.runs, "runs", seconds, tally.lost, tally.unknown)
        for kind, tally in tallies.items()
    ]


def _has_slapd() -> bool:
    return bool(shutil.which("slapd") or shutil.which("slapd", path="/usr/sbin:/sbin"))


MATRIX = Matrix(run, short=30)
