"""People from an OpenLDAP server or an Active Directory."""

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

from svcctl.clock import now
from svcctl.config.source import LdapSource
from svcctl.directory.person import FLAGS, Entries, Person, name_problem, text_problem, tidy
from svcctl.errors import ConfigError, ManagerError, SourceError
from svcctl.ldap.client import LdapClient
from svcctl.ldap.dialect import DIALECTS, EXPIRES, WINDOWS, Dialect, expired
from svcctl.ldap.groups import MEMBER_OF, Memberships, Tree
from svcctl.ldap.messages import Entry


def place(_source: LdapSource, key: str, number: int) -> str:
    """`directory.sources.staff: person 17`."""
    return f"{key}: person {number}"


def read(source: LdapSource, key: str, _known: Collection[str]) -> Entries:
    """Each person with the place in the answer, after all groups were read.

    Memory holds the memberships. Raises SourceError, also where the answer ended early.
    """
    with _explained(key), closing(_client(source)) as client:
        reader = _Reader(source, key, client)
        wanted = source.filter or reader.dialect.people
        entries = client.entries(source.base, wanted, reader.shown)
        for number, entry in enumerate(entries, start=1):
            yield number, reader.person(number, entry)
        reader.require_sense()


def _client(source: LdapSource) -> LdapClient:
    secret = source.bind_password
    return LdapClient(
        source.server,
        bind_dn=source.bind_dn,
        bind_password=None if secret is None else secret.reveal(),
        tls=source.tls,
        timeout=source.timeout,
        page_size=source.page_size,
        search_controls=DIALECTS[source.dialect].search_controls,
    )


@contextmanager
def _explained(key: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise SourceError(error.message, hint=error.hint) from error
    except ManagerError as error:
        hint = error.hint or "nothing of this source was taken over; the next pull tries again"
        raise SourceError(f"{key}: {error.message}", hint=hint) from error


class _Reader:
    """Entries as people, as the source's settings have it."""

    def __init__(self, source: LdapSource, key: str, client: LdapClient) -> None:
        self.dialect: Dialect = DIALECTS[source.dialect]
        self._source = source
        self._key = key
        self._client = client
        self._username = source.username or self.dialect.name
        self._moment = now()
        self._seen: set[str] = set()
        self._people = 0
        self._grouped = False
        self._memberships: Memberships | None = None
        windows = self.dialect is WINDOWS
        self._member_of = (
            source.memberships or ("memberOf" if windows else "members")
        ) == MEMBER_OF
        if source.group_base is not None:
            group_class = source.group_class or self.dialect.group_class
            self._tree = Tree(source.group_base, group_class, source.group_name)
            self._memberships = Memberships(
                client, self._tree, member_of=self._member_of, nested=True, unique=True
            )
        shown = {source.id or self.dialect.uid, self._username, *source.attributes}
        shown |= {source.active} if source.active else {self.dialect.shown, EXPIRES}
        self.shown = sorted(shown | ({MEMBER_OF} if self._member_of else set()))

    def person(self, number: int, entry: Entry) -> Person:
        where = f"{place(self._source, self._key, number)}: {entry.dn}"
        self._people += 1
        username = self._name_of(where, entry)
        groups = None
        if self._memberships is not None:
            groups = frozenset(
                _name(where, "a group's name", name)
                for name in self._memberships.of(entry, username)
            )
            self._grouped = self._grouped or bool(groups)
        return Person(
            source_id=self._id(where, entry),
            username=username,
            active=self._active(where, entry),
            groups=groups,
            attributes={
                attribute: self._attribute(where, entry, name)
                for name, attribute in self._source.attributes.items()
            },
        )

    def require_sense(self) -> None:
        """When all were read: what nobody has, and who is in no group, may be a mistake."""
        if self._people and self._memberships is not None and not self._grouped:
            tree = self._tree
            if self._client.find(tree.base, f"(&{tree.filter}({tree.kind.member}=*))", ()):
                raise SourceError(
                    f"{self._key}: nobody is in any group, and there are groups with members",
                    hint="check memberships and group_class, and whether bind_dn may read "
                    + (MEMBER_OF if self._member_of else tree.kind.member),
                )
        missing = sorted(self._source.attributes.keys() - self._seen) if self._people else []
        known = self._client.attribute_names() if missing else frozenset()
        unknown = [name for name in missing if known and name.lower() not in known]
        if unknown:
            raise SourceError(
                f"{self._key}.attributes: the server knows no attribute {unknown[0]!r}",
                hint="correct the name: LDAP attribute = attribute",
            )

    def _id(self, where: str, entry: Entry) -> str:
        if self._source.id is None:
            return self.dialect.uid_of(entry)
        return _name(where, self._source.id, self._only(where, entry, self._source.id))

    def _name_of(self, where: str, entry: Entry) -> str:
        """Of several names the one that the entry is named by."""
        if len(entry.texts(self._username)) > 1:
            name = self.dialect.name_of(entry, self._username)
        else:
            name = self._only(where, entry, self._username)
        return _name(where, self._username, name)

    def _only(self, where: str, entry: Entry, attribute: str) -> str:
        values = entry.texts(attribute)
        if len(values) > 1:
            _refuse(where, f"has {len(values)} values of {attribute}")
        return values[0] if values else ""

    def _active(self, where: str, entry: Entry) -> bool | None:
        name = self._source.active
        if name is None:
            return self.dialect.active(entry) and not expired(entry, self._moment)
        word = self._only(where, entry, name).strip().lower()
        if not word:
            return None
        if word not in FLAGS:
            _refuse(where, f"{name} is neither true nor false")
        return FLAGS[word]

    def _attribute(self, where: str, entry: Entry, name: str) -> Any:
        values = sorted(filter(None, (value.strip() for value in entry.texts(name))))
        for value in values:
            if problem := text_problem(value):
                _refuse(where, f"{name}: {problem}")
        if values:
            self._seen.add(name)
        return values if len(values) > 1 else next(iter(values), None)


def _name(where: str, what: str, text: str) -> str:
    name = tidy(text)
    if problem := name_problem(name):
        _refuse(where, f"{what} {problem}")
    return name


def _refuse(where: str, problem: str) -> NoReturn:
    raise SourceError(f"{where}: {problem}", hint="correct it on the server")
