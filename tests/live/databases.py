"""Database servers for tests, started in the foreground, with an administrator of their own."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from svcctl.hooks.testing.server import Configure, Server, absent, program


def postgresql() -> Configure:
    if not find_spec("psycopg"):
        absent("no psycopg: pip install 'svcctl[postgres]'")
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest = max(versions, key=lambda path: int(path.parts[-2]), default=None)
    bin_ = newest or Path(program("postgres", "postgresql")).resolve().parent
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    become = become if os.geteuid() == 0 else []

    def configure(folder: Path, port: int) -> list[str]:
        if become:
            shutil.chown(folder, "postgres", "postgres")
        (folder / "admin").write_text("admin")
        setup = ["--auth=scram-sha-256", "--username=admin", f"--pwfile={folder}/admin"]
        subprocess.run(
            [*become, bin_ / "initdb", f"--pgdata={folder}/data", "--no-sync", "-EUTF8", *setup],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        place = ["-D", f"{folder}/data", "-k", str(folder), "-h", "127.0.0.1", "-p", str(port)]
        return [*become, str(bin_ / "postgres"), "-F", *place]

    return configure


def mariadb() -> Configure:
    if not find_spec("pymysql"):
        absent("no pymysql: pip install 'svcctl[mysql]'")
    server = program("mariadbd", "mariadb-server")
    install = program("mariadb-install-db", "mariadb-server")
    user = ["--user=mysql"] if os.geteuid() == 0 else []

    def configure(folder: Path, port: int) -> list[str]:
        if user:
            shutil.chown(folder, "mysql", "mysql")
        place = [f"--datadir={folder}/data", *user]
        subprocess.run(
            [install, "--no-defaults", "--auth-root-authentication-method=normal", *place],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        net = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder}/s.sock"]
        speed = ["--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]
        return [server, "--no-defaults", *place, *net, *speed]

    return configure


def connect(kind: str, server: Server, database: str) -> Any:
    if kind == "mysql":
        import pymysql

        return pymysql.connect(
            unix_socket=f"{server.folder}/s.sock", user="root", database=database, autocommit=True
        )
    import psycopg

    return psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user="admin",
        password="admin",
        dbname=database,
        autocommit=True,
    )
