"""The engine against its model, a little of it; `python -m chaos model` does the rest."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.engine_model import Engine


def test_whatever_is_done_in_whatever_order_the_promises_hold() -> None:
    budget = settings(
        max_examples=4,
        stateful_step_count=5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Engine, settings=budget)
