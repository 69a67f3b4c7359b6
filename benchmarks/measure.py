"""Timing whole processes and calls, and the table of the results."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One budget: what was measured, what it is held against, and how it came out."""

    what: str
    measured: float
    baseline: float
    budget: float
    unit: str = "s"
    at_least: bool = False

    @property
    def ratio(self) -> float:
        return self.measured / self.baseline if self.baseline else float("inf")

    @property
    def kept(self) -> bool:
        return self.ratio >= self.budget if self.at_least else self.ratio <= self.budget


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'what':<62} {'measured':>11} {'baseline':>11} {'ratio':>7}  {'budget':>8}"]
    for row in rows:
        sign = ">=" if row.at_least else "<="
        lines.append(
            f"{row.what:<62} {row.measured:>9.3f} {row.unit:<1} {row.baseline:>9.3f} {row.unit:<1} "
            f"{row.ratio:>7.2f}  {sign} {row.budget:<5} {'' if row.kept else 'OVER'}"
        )
    return "\n".join(lines)


def _environment() -> dict[str, str]:
    """Ours, with bytecode cached as everywhere, and the source tree first."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(Path(__file__).parent.parent)}


def command(*arguments: str, folder: Path | None = None) -> float:
    """Seconds of one process, which must exit with 0."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=_environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def peak(*arguments: str, folder: Path) -> float:
    """Peak memory of one process in MB, the interpreter included."""
    script = (
        "import resource,subprocess,sys;"
        "subprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, *arguments],
        cwd=folder,
        env=_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout) / 1024


def in_turn(*calls: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """The medians of calls that return seconds, run in turn so that noise hits all alike."""
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for sample, call in zip(samples, calls, strict=True):
            sample.append(call())
    return [statistics.median(sample) for sample in samples]
