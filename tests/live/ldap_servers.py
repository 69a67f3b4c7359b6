"""An OpenLDAP server and an Active Directory of Samba, each with people, groups and a stranger."""

import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ldap3
import trustme
from ldap3.core.exceptions import LDAPException

from svcctl.hooks.testing.server import Server, absent, program, running
from svcctl.ldap.names import rdn

PASSWORD = "S3rvice,of svcctl"
ROOT_PASSWORD = "Adm1n-Passw0rd"
SCHEMAS = Path("/etc/ldap/schema")
SLAPD = """
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/nis.schema
include {schemas}/inetorgperson.schema
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
moduleload unique
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
sizelimit 50
database mdb
maxsize 1073741824
suffix "dc=svc,dc=test"
rootdn "cn=admin,dc=svc,dc=test"
rootpw {password}
directory {folder}/db
dbnosync
index objectClass,uid,employeeNumber,member,memberUid,cn,entryUUID eq
limits dn.exact="cn=svcctl,dc=svc,dc=test" size=unlimited
overlay memberof
overlay unique
unique_uri ldap:///ou=people,dc=svc,dc=test?uid?sub
overlay ppolicy
ppolicy_default "cn=default,ou=policies,dc=svc,dc=test"
access to attrs=userPassword
    by dn.exact="cn=svcctl,dc=svc,dc=test" write
    by anonymous auth
    by * none
access to dn.subtree="ou=policies,dc=svc,dc=test" by users read by * none
access to *
    by dn.exact="cn=svcctl,dc=svc,dc=test" write
    by users read
    by * none
"""
INIT = """
dn: dc=svc,dc=test
objectClass: dcObject
objectClass: organization
o: svc
dc: svc

dn: ou=people,dc=svc,dc=test
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=svc,dc=test
objectClass: organizationalUnit
ou: groups

dn: ou=policies,dc=svc,dc=test
objectClass: organizationalUnit
ou: policies

dn: cn=default,ou=policies,dc=svc,dc=test
objectClass: pwdPolicy
objectClass: person
cn: default
sn: default
pwdAttribute: userPassword
pwdLockout: TRUE

dn: cn=svcctl,dc=svc,dc=test
objectClass: person
cn: svcctl
sn: svcctl
userPassword: {password}
"""


@dataclass(frozen=True)
class Directory:
    """A running server, and the way of an administrator to it, past svcctl.

    host, port: where it speaks without encryption, and with StartTLS. ldaps: the URL that is
    encrypted from the start. ca: who vouches for both. bind: who svcctl is there. people, groups:
    the bases.
    """

    dialect: str
    server: Server
    host: str
    port: int
    ldaps: str
    ca: Path
    bind: str
    root: str
    people: str
    groups: str
    later: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ldap://{self.host}:{self.port}"

    @property
    def windows(self) -> bool:
        return self.dialect == "active-directory"

    @contextmanager
    def connected(self, user: str, password: str) -> Iterator[Any]:
        """A connection of ldap3's own, bound; its result says whether."""
        server = ldap3.Server(self.ldaps, tls=ldap3.Tls(), get_info=ldap3.NONE)
        connection: Any = ldap3.Connection(server, user, password, check_names=False)
        try:
            connection.open()
            connection.bind()
            yield connection
        finally:
            if connection.socket is not None:
                connection.socket.close()

    def lets_in(self, name: str, password: str) -> bool:
        """Whether somebody may log in with this password."""
        user = f"{name}@svc.test" if self.windows else f"{rdn('uid', name)},{self.people}"
        with self.connected(user, password) as connection:
            return bool(connection.result["result"] == 0)

    @contextmanager
    def admin(self) -> Iterator[Any]:
        with self.connected(self.root, ROOT_PASSWORD) as connection:
            yield connection

    # What an administrator sees

    def search(self, base: str, filter: str = "(objectClass=*)") -> dict[str, dict[str, Any]]:
        """Attributes by DN, operational ones as well; pages of 1000."""
        shown: dict[str, dict[str, Any]] = {}
        with self.admin() as connection:
            found = connection.extend.standard.paged_search(
                base, filter, attributes=["*", "+"], paged_size=500, generator=True
            )
            for one in found:
                if one["type"] == "searchResEntry":
                    shown[one["dn"]] = dict(one["attributes"])
        return shown

    def accounts(self) -> dict[str, dict[str, Any]]:
        """The people's attributes by the name that they log in with."""
        name = "sAMAccountName" if self.windows else "uid"
        kind = "user" if self.windows else "inetOrgPerson"
        return {
            one[name][0]: {**one, "dn": dn}
            for dn, one in self.search(self.people, f"(objectClass={kind})").items()
        }

    def active(self, name: str) -> bool:
        one = self.accounts()[name]
        if self.windows:
            return not int(one["userAccountControl"][0]) & 2
        return "pwdAccountLockedTime" not in one

    def members(self) -> dict[str, set[str]]:
        """Who is in each group, by name; whoever is no person, by the whole DN."""
        names = {one["dn"]: name for name, one in self.accounts().items()}
        return {
            one["cn"][0]: {names.get(dn, dn) for dn in one.get("member", ())}
            for one in self.search(self.groups).values()
            if "group" in one["objectClass"] or "groupOfNames" in one["objectClass"]
        }

    # What an administrator does

    def add_person(self, name: str, **attributes: str) -> str:
        """A stranger; returns the DN."""
        if self.windows:
            dn, classes = f"CN={name},{self.people}", ["user"]
            given = {"sAMAccountName": name, "userAccountControl": "544", **attributes}
        else:
            dn, classes = f"uid={name},{self.people}", ["inetOrgPerson"]
            given = {"uid": name, "cn": name, "sn": name, **attributes}
        self.write(lambda connection: connection.add(dn, classes, given))
        return dn

    def add_group(self, name: str, *members: str) -> str:
        """A group of these DNs; returns its own."""
        dn = f"{rdn('cn', name)},{self.groups}"
        classes = ["group" if self.windows else "groupOfNames"]
        account = re.sub(r"[^\w ]", "", name)
        given: dict[str, Any] = {"sAMAccountName": account} if self.windows else {"cn": name}
        if members:
            given["member"] = list(members)
        self.write(lambda connection: connection.add(dn, classes, given))
        return dn

    def change(self, dn: str, kind: str, attribute: str, *values: str) -> None:
        self.write(lambda connection: connection.modify(dn, {attribute: [(kind, list(values))]}))

    def rename(self, dn: str, rdn: str, *, below: str | None = None) -> None:
        self.write(lambda connection: connection.modify_dn(dn, rdn, new_superior=below))

    def delete(self, dn: str) -> None:
        self.write(lambda connection: connection.delete(dn))

    def write(self, call: Callable[[Any], object]) -> None:
        with self.admin() as connection:
            call(connection)
            assert connection.result["result"] == 0, connection.result

    def kill(self) -> None:
        """At once, with all that it started."""
        process = (self.later or [self.server.process])[-1]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_again(self) -> None:
        """With what it had."""
        with (self.server.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(
                self.server.process.args,
                cwd=self.server.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.later.append(process)
        for _ in range(200):
            with suppress(LDAPException), self.admin():
                return
            time.sleep(0.05)
        raise AssertionError(self.server.log)

    def clear(self) -> None:
        """Without anybody and any group."""
        with self.admin() as connection:
            for base in (self.people, self.groups):
                for dn in sorted(self.search(base), key=len, reverse=True):
                    if dn.lower() != base.lower():
                        connection.delete(dn)
                        assert connection.result["result"] == 0, (dn, connection.result)


def certify(folder: Path, address: str) -> Path:
    """A certificate for 127.0.0.1, or wherever the server is, and the authority behind it."""
    authority = trustme.CA()
    certificate = authority.issue_cert(address)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    (folder / "server.key").chmod(0o600)
    return folder / "ca.pem"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def openldap() -> Iterator[Directory]:
    slapd, slapadd = program("slapd", "slapd"), program("slapadd", "slapd")
    tls_port = 0

    def configure(folder: Path, port: int) -> list[str]:
        nonlocal tls_port
        tls_port = free_port()
        (folder / "db").mkdir()
        certify(folder, "127.0.0.1")
        config = folder / "slapd.conf"
        config.write_text(
            SLAPD.format(folder=folder, schemas=SCHEMAS, password=ROOT_PASSWORD).lstrip()
        )
        init = folder / "init.ldif"
        init.write_text(INIT.format(password=PASSWORD))
        run([slapadd, "-q", "-f", str(config), "-l", str(init)])
        urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/"
        return [slapd, "-f", str(config), "-h", urls, "-d", "0"]

    with running(configure) as server:
        directory = Directory(
            "openldap",
            server,
            host="127.0.0.1",
            port=server.port,
            ldaps=f"ldaps://127.0.0.1:{tls_port}",
            ca=server.folder / "ca.pem",
            bind="cn=svcctl,dc=svc,dc=test",
            root="cn=admin,dc=svc,dc=test",
            people="ou=people,dc=svc,dc=test",
            groups="ou=groups,dc=svc,dc=test",
        )
        with ending(directory):
            yield directory


@contextmanager
def ending(directory: Directory) -> Iterator[None]:
    """The server may have been started again meanwhile."""
    try:
        yield
    finally:
        if directory.later:
            directory.kill()


@contextmanager
def samba() -> Iterator[Directory]:
    """Its ports are fixed, so it gets an address of its own on the loopback network."""
    daemon = program("samba", "samba samba-ad-provision samba-dsdb-modules samba-vfs-modules")
    tool = program("samba-tool", "samba")
    if os.geteuid() != 0:
        absent("a domain controller needs root: its ports are 389 and 636")
    address = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}.77"

    def configure(folder: Path, _: int) -> list[str]:
        certify(folder, address)
        config = provision(tool, folder, address)
        return [daemon, "-i", "-s", str(config)]

    def ready(_: int) -> bool:
        socket.create_connection((address, 636), 1).close()
        return True

    with running(configure, ready, patience=60) as server:
        directory = Directory(
            "active-directory",
            server,
            host=address,
            port=389,
            ldaps=f"ldaps://{address}",
            ca=server.folder / "ca.pem",
            bind="svcctl@svc.test",
            root="Administrator@svc.test",
            people="OU=people,DC=svc,DC=test",
            groups="OU=groups,DC=svc,DC=test",
        )
        with ending(directory):
            yield directory


def provision(tool: str, folder: Path, address: str) -> Path:
    """A new domain, in which svcctl may do anything below two organizational units."""
    options = {
        "interfaces": f"{address}/8",
        "bind interfaces only": "yes",
        "vfs objects": "dfs_samba4,xattr_tdb",
        "xattr_tdb:file": f"{folder}/xattr.tdb",
        "posix:eadb": f"{folder}/eadb.tdb",
        "log file": f"{folder}/log.%m",
        "pid directory": str(folder),
        "ncalrpc dir": f"{folder}/ncalrpc",
        "server services": "ldap",
        "ldap server require strong auth": "no",  # the proxy of the tests reads along
        "old password allowed period": "0",  # an hour by default, as in Windows
        "tls certfile": f"{folder}/server.pem",
        "tls keyfile": f"{folder}/server.key",
        "tls cafile": f"{folder}/ca.pem",
    }
    words = ["--realm=SVC.TEST", "--domain=SVC", "--server-role=dc", "--dns-backend=NONE"]
    words += [f"--adminpass={ROOT_PASSWORD}", "--host-ip=127.0.0.1", f"--targetdir={folder}/dc"]
    words += [f"--option={name}={value}" for name, value in options.items()]
    run([tool, "domain", "provision", *words])
    config = folder / "dc" / "etc" / "smb.conf"
    own = "\n".join(f"{name} = {value}" for name, value in options.items())
    lines = [line for line in config.read_text().splitlines() if "dns forwarder" not in line]
    lines.insert(lines.index("[global]") + 1, own)
    config.write_text("\n".join([*lines, ""]))
    here = [f"--configfile={config}", "-H", f"{folder}/dc/private/sam.ldb"]
    for unit in ("people", "groups"):
        run([tool, "ou", "create", f"OU={unit},DC=svc,DC=test", *here])
    run([tool, "user", "create", "svcctl", PASSWORD, *here])
    shown = run([tool, "user", "show", "svcctl", "--attributes=objectSid", *here])
    sid = shown.partition("objectSid: ")[2].split()[0]
    for unit in ("people", "groups"):
        grant = ["--objectdn", f"OU={unit},DC=svc,DC=test", f"--sddl=(A;CI;GA;;;{sid})"]
        run([tool, "dsacl", "set", *grant, *here])
    return config


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, encoding="utf-8", env=environment
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


SERVERS = {"openldap": openldap, "active-directory": samba}
