"""Services as the database knows them, configured or not."""

from sqlalchemy import Connection, func, select

from svcctl.store.tables import accounts


def by_status(connection: Connection) -> dict[str, dict[str, int]]:
    """Account rows per service and status; a service that never had one is not there."""
    statement = (
        select(accounts.c.service, accounts.c.status, func.count())
        .group_by(accounts.c.service, accounts.c.status)
        .order_by(accounts.c.service, accounts.c.status)
    )
    counted: dict[str, dict[str, int]] = {}
    for service, status, number in connection.execute(statement):
        counted.setdefault(service, {})[status] = number
    return counted
