import pytest

from svcctl.errors import StoreError
from svcctl.store import associations, codes, partials, people
from svcctl.store.database import Database


def new_user(database: Database, name: str) -> int:
    with database.write() as connection:
        return people.add_user(connection, name, attributes={})


def test_a_reserved_id_is_given_once_and_never_again(database: Database) -> None:
    with database.write() as connection:
        first = people.reserve_id(connection)
    with database.write() as connection:
        second = people.reserve_id(connection)
        people.add_user(connection, "ada", attributes={}, id_=second)
    third = new_user(database, "bob")
    assert first < second < third


def test_a_uid_belongs_to_one_user_and_its_case_counts(database: Database) -> None:
    ada, bob = new_user(database, "ada"), new_user(database, "bob")
    entry = {"provider": "github", "id_key": "id", "extra_data": ""}
    with database.write() as connection:
        associations.add(connection, user_id=ada, uid="Ab", **entry)
        associations.add(connection, user_id=bob, uid="aB", **entry)
    with database.read() as connection:
        found = associations.find(connection, "github", "aB")
        assert found is not None
        assert found.user_id == bob
        assert associations.find(connection, "github", "ab") is None
        assert associations.find(connection, "github", "a\0") is None
    with pytest.raises(StoreError), database.write() as connection:
        associations.add(connection, user_id=bob, uid="Ab", **entry)


def test_a_partial_and_a_code_count_once(database: Database) -> None:
    with database.write() as connection:
        partials.add(
            connection,
            id="p1",
            token_hash="t",
            pipeline="join",
            kind="auth",
            backend="github",
            step="mail_validation",
            fingerprint=["a"],
            user_id=None,
            why="",
            needs=["verification_code"],
            external=True,
            data="",
            actor="root",
            expires_at="2999",
        )
        codes.add(connection, code_hash="c", email="ada@x.org", partial_id="p1", expires_at="2999")
    with database.write() as connection:
        partials.count_attempt(connection, "p1")
        assert codes.verify(connection, "c")
        assert not codes.verify(connection, "c")
        row = partials.by_token(connection, "t")
        assert row is not None
        assert (row.id, row.attempts) == ("p1", 1)
        (listed,) = partials.listing(connection)
        assert (listed["needs"], listed["user"]) == (["verification_code"], None)
        assert "data" not in listed
        assert partials.remove(connection, "p1")
        assert not partials.remove(connection, "p1")


def test_what_has_expired_goes(database: Database) -> None:
    with database.write() as connection:
        for number, moment in enumerate(("2020", "2999")):
            codes.add(
                connection, code_hash=str(number), email="", partial_id=None, expires_at=moment
            )
        assert codes.remove_expired(connection, at="2026") == 1
        assert codes.find(connection, "1") is not None
