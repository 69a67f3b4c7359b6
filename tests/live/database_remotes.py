"""PostgreSQL and MariaDB as services: people's roles and users, past svcctl and its recipes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from svcctl.hooks.testing.server import Server, listens, running
from tests.live.databases import connect, mariadb, postgresql
from tests.live.web_remotes import GROUPS, Remote
from tests.live.web_servers import PATIENCE, Web

KEY = "a-pass'word"


def run(server: Server, kind: str, *statements: str) -> None:
    database = "postgres" if kind == "postgresql" else "mysql"
    with closing(connect(kind, server, database)) as link, link.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def rows(server: Server, kind: str, query: str) -> list[tuple[Any, ...]]:
    database = "postgres" if kind == "postgresql" else "mysql"
    with closing(connect(kind, server, database)) as link, link.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


@contextmanager
def _prepared(kind: str, *statements: str) -> Iterator[Web]:
    configure = {"postgresql": postgresql, "mysql": mariadb}[kind]()
    with ExitStack() as stack:
        server = stack.enter_context(running(configure, patience=PATIENCE))

        run(server, kind, *statements)
        yield Web(server, listens, stack, KEY)


@contextmanager
def postgresql_roles() -> Iterator[Web]:
    with _prepared(
        "postgresql",
        "CREATE ROLE svcctl LOGIN CREATEROLE PASSWORD '" + KEY.replace("'", "''") + "'",
        "CREATE ROLE people",
        "CREATE ROLE staff",
        "CREATE ROLE commanders",
        "CREATE ROLE crew",
        "CREATE ROLE theirs",
        "GRANT pg_signal_backend TO svcctl",
        "GRANT people, staff, commanders, crew TO svcctl WITH ADMIN OPTION",
    ) as site:
        yield site


@contextmanager
def mariadb_users() -> Iterator[Web]:
    quoted = KEY.replace("'", "''")
    me = "svcctl@'127.0.0.1'"
    with _prepared(
        "mysql",
        f"CREATE USER {me} IDENTIFIED BY '{quoted}'",
        "CREATE ROLE staff",
        "CREATE ROLE commanders",
        "CREATE ROLE crew",
        "CREATE ROLE theirs",
        f"GRANT CREATE USER ON *.* TO {me}",
        f"GRANT SELECT ON mysql.* TO {me}",
        f"GRANT staff TO {me} WITH ADMIN OPTION",
        f"GRANT commanders TO {me} WITH ADMIN OPTION",
        f"GRANT crew TO {me} WITH ADMIN OPTION",
    ) as site:
        yield site


class PostgresqlRoles(Remote):
    recipe = "postgresql.toml"
    service = "database"
    nicknames = True
    crowd = 150

    def edits(self) -> Mapping[str, str]:
        return {"db.example.org": f"127.0.0.1:{self.site.server.port}"}

    def users(self) -> dict[str, tuple[bool, frozenset[str]]]:
        people = rows(
            self.site.server,
            "postgresql",
            "SELECT r.rolname, r.rolcanlogin, array(SELECT g.rolname::text FROM pg_auth_members m "
            "JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid) FROM pg_roles r",
        )
        return {name: (login, GROUPS & set(groups)) for name, login, groups in people}

    def create(self, name: str) -> None:
        run(self.site.server, "postgresql", f"CREATE ROLE {name} LOGIN IN ROLE people")

    def join(self, name: str, group: str) -> None:
        run(self.site.server, "postgresql", f"GRANT {group} TO {name}")

    def nickname(self, name: str) -> str:
        query = f"SELECT shobj_description('{name}'::regrole, 'pg_authid')"
        return str(rows(self.site.server, "postgresql", query)[0][0])


class MariadbUsers(Remote):
    recipe = "mariadb.toml"
    service = "database"
    crowd = 150

    def edits(self) -> Mapping[str, str]:
        return {"db.example.org": f"127.0.0.1:{self.site.server.port}"}

    def users(self) -> dict[str, tuple[bool, frozenset[str]]]:
        people = rows(
            self.site.server,
            "mysql",
            "SELECT User, json_value(Priv, '$.account_locked') FROM global_priv WHERE Host = '%'",
        )
        member = rows(self.site.server, "mysql", "SELECT User, Role FROM roles_mapping")
        return {
            name: (locked in (None, "0"), GROUPS & {role for user, role in member if user == name})
            for name, locked in people
        }

    def create(self, name: str) -> None:
        run(self.site.server, "mysql", f"CREATE USER {name}@'%' IDENTIFIED BY 'a-password'")

    def join(self, name: str, group: str) -> None:
        run(self.site.server, "mysql", f"GRANT {group} TO {name}@'%'")
