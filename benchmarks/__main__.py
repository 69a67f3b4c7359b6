"""Run the benchmarks named (default: all) and print one table."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    applying,
    ldap,
    listing,
    network,
    no_change,
    pipelines,
    planning,
    settling,
    startup,
)
from benchmarks.measure import Row, table

BENCHMARKS: dict[str, Callable[[Path], list[Row]]] = {
    "startup": startup.run,
    "no-change": no_change.run,
    "planning": planning.run,
    "settling": settling.run,
    "applying": applying.run,
    "listing": listing.run,
    "pipelines": pipelines.run,
    "network": network.run,
    "openldap": ldap.openldap,
    "samba": ldap.samba,
}


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="svcctl-bench-") as folder:
        for name in names:
            print(f"{name} …", file=sys.stderr)
            rows.extend(BENCHMARKS[name](Path(folder) / name))
    print(table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
