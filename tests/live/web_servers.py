"""WordPress, MediaWiki and Redmine as Debian packages them, each with an account for svcctl."""

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from svcctl.hooks.testing.server import Configure, Ready, Server, absent, program, running
from tests.live.databases import connect, mariadb

PASSWORD = "Adm1nPassw0rd!"
PATIENCE = 60.0


@dataclass
class Web:
    """A running site that can be killed and started again, where it was."""

    server: Server
    ready: Ready
    stack: ExitStack
    key: str = ""
    """What svcctl proves itself with."""

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def folder(self) -> Path:
        return self.server.folder

    def kill(self) -> None:
        """End it as a power cut would, with all that it started."""
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()

    def restart(self) -> None:
        """The same command again, in the same folder, on the same port."""
        port, command = self.server.port, self.server.process.args
        assert isinstance(command, list)
        again = running(lambda *_: command, lambda _: self.ready(port), patience=PATIENCE)
        self.server = Server(self.folder, port, self.stack.enter_context(again).process)


def answers(path: str) -> Ready:
    """Whether a page is served."""

    def ready(port: int) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).ok
        except requests.RequestException as error:
            raise OSError(str(error)) from None

    return ready


@contextmanager
def web(configure: Configure, ready: Ready) -> Iterator[Web]:
    with ExitStack() as stack:
        yield Web(stack.enter_context(running(configure, ready, patience=PATIENCE)), ready, stack)


def installed(folder: str, package: str) -> Path:
    path = Path(folder)
    return path if path.exists() else absent(f"{path} is missing: apt-get install {package}")


def php(*modules: str) -> str:
    found = program("php", "php-cli")
    loaded = subprocess.run([found, "-m"], check=True, capture_output=True, text=True).stdout
    for module in modules:
        if module not in loaded.split():
            absent(f"PHP has no {module}: apt-get install php-{module}")
    return found


# WordPress

WP_CONFIG = """<?php
define('DB_NAME', 'wp'); define('DB_USER', 'wp'); define('DB_PASSWORD', 'wp');
define('DB_HOST', '127.0.0.1:{database}'); define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $name) {{
    define($name . '_KEY', 'key'); define($name . '_SALT', 'salt');
}}
$table_prefix = 'wp_';
define('WP_HTTP_BLOCK_EXTERNAL', true); define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true); define('WP_ENVIRONMENT_TYPE', 'local');
define('WP_HOME', 'http://127.0.0.1:{port}'); define('WP_SITEURL', 'http://127.0.0.1:{port}');
if (!defined('ABSPATH')) {{ define('ABSPATH', __DIR__ . '/'); }}
require_once ABSPATH . 'wp-settings.php';
"""
# What a web server's rewrite rules do: whatever is no file goes to index.php.
WP_ROUTER = """<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (is_file(__DIR__ . '/www' . $path)) { return false; }
$_SERVER['SCRIPT_NAME'] = '/index.php';
require __DIR__ . '/www/index.php';
"""
WP_SETUP = """<?php
define('WP_INSTALLING', true);
require __DIR__ . '/www/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Club', 'admin', 'admin@example.org', false, '', 'Adm1nPassw0rd!');
update_option('permalink_structure', '/%postname%/');
add_role('staff', 'Staff', ['read' => true]);
add_role('commanders', 'Commanders', ['read' => true]);
add_role('crew', 'Crew', ['read' => true]);
add_role('theirs', 'Theirs', ['read' => true]);
[$password] = WP_Application_Passwords::create_new_application_password(1, ['name' => 'svcctl']);
file_put_contents(__DIR__ . '/key', $password);
"""


@contextmanager
def wordpress() -> Iterator[Web]:
    source = installed("/usr/share/wordpress", "wordpress")
    binary = php("mysqli")
    with running(mariadb()) as database:
        with closing(connect("mysql", database, "mysql")) as link, link.cursor() as cursor:
            cursor.execute("CREATE DATABASE wp")
            cursor.execute("CREATE USER wp@'%' IDENTIFIED BY 'wp'")
            cursor.execute("GRANT ALL ON wp.* TO wp@'%'")

        def configure(folder: Path, port: int) -> list[str]:
            shutil.copytree(source, folder / "www", symlinks=True)
            config = folder / "www" / "wp-config.php"
            config.unlink()
            config.write_text(WP_CONFIG.format(database=database.port, port=port))
            (folder / "router.php").write_text(WP_ROUTER)
            (folder / "setup.php").write_text(WP_SETUP)
            subprocess.run([binary, folder / "setup.php"], check=True, capture_output=True)
            serve = [binary, "-S", f"127.0.0.1:{port}", "-t", str(folder / "www")]
            return ["env", "PHP_CLI_SERVER_WORKERS=4", *serve, str(folder / "router.php")]

        with web(configure, answers("/wp-json/")) as site:
            site.key = (site.folder / "key").read_text()
            yield site


# MediaWiki

MW_SETTINGS = """
foreach (['staff', 'commanders', 'crew', 'theirs'] as $group) {
    $wgGroupPermissions[$group]['read'] = true;
}
$wgGroupPermissions['svcctl'] = [
    'createaccount' => true, 'block' => true, 'noratelimit' => true, 'apihighlimits' => true,
];
$wgAddGroups['svcctl'] = $wgRemoveGroups['svcctl'] = ['staff', 'commanders', 'crew'];
$wgBlockDisablesLogin = true;
$wgPasswordAttemptThrottle = [['count' => 30, 'seconds' => 300]];
$wgMainCacheType = CACHE_DB;
"""


@contextmanager
def mediawiki() -> Iterator[Web]:
    source = installed("/usr/share/mediawiki", "mediawiki")
    binary = php("pdo_sqlite", "mbstring", "xml", "intl")
    key = secrets.token_hex(16)

    def run(folder: Path, script: str, *words: str) -> None:
        subprocess.run(
            [binary, source / "maintenance" / f"{script}.php", *words],
            check=True,
            capture_output=True,
            env={**os.environ, "MW_CONFIG_FILE": str(folder / "LocalSettings.php")},
        )

    def configure(folder: Path, port: int) -> list[str]:
        (folder / "data").mkdir()
        place = ["--dbtype=sqlite", f"--dbpath={folder}/data", "--dbname=wiki"]
        place += [f"--server=http://127.0.0.1:{port}", "--scriptpath=", f"--confpath={folder}"]
        place.append("--lang=de")
        subprocess.run(
            [
                binary,
                source / "maintenance/install.php",
                *place,
                f"--pass={PASSWORD}",
                "W",
                "Admin",
            ],
            check=True,
            capture_output=True,
        )
        with (folder / "LocalSettings.php").open("a") as file:
            file.write(MW_SETTINGS)
        run(folder, "createAndPromote", "--custom-groups=svcctl", "Svcctl", PASSWORD)
        grants = "--grants=basic,highvolume,createaccount,blockusers"
        run(folder, "createBotPassword", "--appid=svcctl", grants, "Svcctl", key)
        settings = f"MW_CONFIG_FILE={folder}/LocalSettings.php"
        serve = [binary, "-S", f"127.0.0.1:{port}", "-t", str(source)]
        return ["env", settings, "PHP_CLI_SERVER_WORKERS=4", *serve]

    with web(configure, answers("/api.php")) as site:
        site.key = key
        yield site


# Redmine

RM_SETUP = """
INSERT INTO settings (name, value) VALUES ('rest_api_enabled', '1');
INSERT INTO tokens (user_id, action, value, created_on, updated_on)
    VALUES (1, 'api', '{key}', '2026-01-01', '2026-01-01');
INSERT INTO users (type, lastname, status, admin, created_on, updated_on)
    VALUES ('Group', 'staff', 1, 0, '2026-01-01', '2026-01-01'),
           ('Group', 'commanders', 1, 0, '2026-01-01', '2026-01-01'),
           ('Group', 'crew', 1, 0, '2026-01-01', '2026-01-01'),
           ('Group', 'theirs', 1, 0, '2026-01-01', '2026-01-01');
"""


@contextmanager
def redmine() -> Iterator[Web]:
    source = installed("/usr/share/redmine", "redmine redmine-sqlite")
    puma = program("puma", "puma")
    key = secrets.token_hex(20)

    def configure(folder: Path, port: int) -> list[str]:
        database = f"DATABASE_URL=sqlite3:{folder}/redmine.sqlite"
        start = ["env", "-C", str(source), "RAILS_ENV=production", "X_DEBIAN_SITEID=default"]
        start += [database, "RAILS_LOG_TO_STDOUT=1"]
        subprocess.run([*start, "rake", "db:migrate"], check=True, capture_output=True)
        with closing(sqlite3.connect(folder / "redmine.sqlite")) as link:
            link.executescript(RM_SETUP.format(key=key))
        listen = f"tcp://127.0.0.1:{port}"
        # One after the other: on SQLite, Redmine fails where two want to write at once.
        return [*start, puma, "-e", "production", "-t", "1:1", "-b", listen, "config.ru"]

    with web(configure, answers("/login")) as site:
        site.key = key
        yield site
