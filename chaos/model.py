"""The engine against a model of it: random words of an operator, faults, and a clock that jumps."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from chaos.matrix import Matrix, Row, Task, Watch, spread
from tests.support.engine_model import Engine

EXAMPLES = 5
"""Sites that one seed makes."""
STEPS = 15
WHOLE = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How many commands were run, and what was not kept."""

    commands: int
    lost: Sequence[str] = ()


def _play(number: int) -> Ended:
    """Sites of one seed, each with its own people and its own story."""
    machine: type[Engine] = type("Engine", (Engine,), {"steps": 0})
    play = seed(number)(machine)
    budget = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(play, settings=budget)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        print(error, file=sys.stderr, flush=True)
        again = f"python -m chaos model --seed {number} --runs 1"
        last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return Ended(machine.steps, [f"{last[0]} ({again})"])
    return Ended(machine.steps)


def run(task: Task) -> list[Row]:
    """Each run is a seed, with its sites and their stories."""
    count = WHOLE if task.runs is None else task.runs
    watch = Watch()
    ended = list(spread(_play, range(task.seed, task.seed + count)))
    commands = sum(one.commands for one in ended)
    lost = [what for one in ended for what in one.lost]
    print(f"  {count * EXAMPLES:,} sites, {commands:,} commands", file=sys.stderr)
    return [Row("model: the engine as it should be", commands, "commands", watch.seconds, lost)]


MATRIX = Matrix(run, short=4)
