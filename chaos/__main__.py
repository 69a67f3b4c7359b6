"""Run the matrices named (default: all) and print one table."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from chaos import concurrency, crash, disk, faults, fuzz, model, secrets
from chaos.matrix import Matrix, Row, Task, table

MATRICES: dict[str, Matrix] = {
    "crash": crash.MATRIX,
    "disk": disk.MATRIX,
    "concurrency": concurrency.MATRIX,
    "faults": faults.MATRIX,
    "model": model.MATRIX,
    "fuzz": fuzz.MATRIX,
    "secrets": secrets.MATRIX,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MATRICES))
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same chance")
    parser.add_argument("--runs", type=int, help="how many of each matrix; without it all")
    parser.add_argument("--short", action="store_true", help="the few runs of `make chaos`")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in MATRICES]
    if unknown:
        parser.error(f"no matrix {unknown[0]!r}; there are: {', '.join(MATRICES)}")
    rows: list[Row] = []
    again: list[str] = []
    # In memory where there is room: it is not the disk that is tried.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="svcctl-chaos-", dir=place) as folder:
        for name in given.names or MATRICES:
            print(f"{name} …", file=sys.stderr, flush=True)
            matrix = MATRICES[name]
            runs = given.runs or (matrix.short if given.short else None)
            (Path(folder) / name).mkdir()
            found = matrix.run(Task(Path(folder) / name, given.seed, runs))
            if any(row.lost for row in found):
                exactly = f" --runs {runs}" if runs else ""
                again.append(f"python -m chaos {name} --seed {given.seed}{exactly}")
            rows.extend(found)
    print(table(rows))
    lost = [f"{row.what}: {loss}" for row in rows for loss in row.lost]
    for loss in lost:
        print(f"LOST {loss}")
    for command in again:
        print(f"again: {command}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
