import pytest

from svcctl.limits import allowance


@pytest.mark.parametrize(
    ("population", "allowed"),
    [
        (0, 0),
        (1, 0),
        (2, 1),
        (5, 1),
        (10, 2),
        (100, 20),
        (1_000, 110),
        (10_000, 560),
        (100_000, 2_360),
    ],
)
def test_the_default_is_a_share_that_shrinks_with_size(population: int, allowed: int) -> None:
    assert allowance(population) == allowed


def test_the_default_never_falls_as_a_site_grows_and_never_reaches_all() -> None:
    allowed = [allowance(population) for population in range(12_000)]
    assert allowed == sorted(allowed)
    assert all(number < population for population, number in enumerate(allowed) if population)


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [(12, 12), ("12", 12), ("15%", 15), (" 15 % ", 15), (0, 0), ("0%", 0), ("100%", 99), (500, 99)],
)
def test_an_override_is_a_number_or_a_share(limit: int | str, allowed: int) -> None:
    assert allowance(100, limit) == allowed


@pytest.mark.parametrize("limit", ["", "lots", "-1", "101%", "1.5", "%"])
def test_anything_else_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match="not a limit"):
        allowance(100, limit)
