"""What is shown of a context: secrets by their names are not."""

from typing import TYPE_CHECKING, Any

import pytest

from svcctl.pipeline.mask import masked
from svcctl.pipeline.steps.debug import debug

if TYPE_CHECKING:
    from tests.pipeline.grounds import Ground


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"access_token": "s3cret", "id": 1}, {"access_token": "***", "id": 1}),
        (
            {"response": {"a": [{"refresh_token": "x"}]}},
            {"response": {"a": [{"refresh_token": "***"}]}},
        ),
        ({"tokens": {"github": "x", "n": 7}}, {"tokens": {"github": "***", "n": "***"}}),
        ({"passwords": ["a", "b"]}, {"passwords": ["***", "***"]}),
        ({"Authorization": b"Bearer x"}, {"Authorization": "***"}),
        ({"verification_code": "1", "code": "2"}, {"verification_code": "***", "code": "***"}),
        ({"country_code": "GB", "barcode": "3"}, {"country_code": "GB", "barcode": "3"}),
        ({"access_token": None, "refresh_token": ""}, {"access_token": None, "refresh_token": ""}),
        ({"token_verified": True}, {"token_verified": True}),
        ({"client_secret": ("a",)}, {"client_secret": ["***"]}),
    ],
)
def test_texts_and_numbers_under_a_secret_name_are_hidden(given: Any, shown: Any) -> None:
    assert masked(given) == shown


def test_debug_shows_the_context_on_standard_error_and_changes_nothing(
    memory: "Ground", capsys: pytest.CaptureFixture[str]
) -> None:
    response = {"id": 1, "access_token": "s3cret", "name": "\x1b[31mred\u202e"}
    step = "svcctl.pipeline.steps.debug.debug"
    result = memory.backend().run_pipeline([step], response=response, is_new=True)
    assert result["response"] == response
    out, err = capsys.readouterr()
    assert out == ""
    assert "is_new = True\n" in err
    assert "s3cret" not in err
    assert r"'name': '\x1b[31mred\u202e'" in err


def test_debug_shows_what_came_by_position(capsys: pytest.CaptureFixture[str]) -> None:
    debug("one", is_new=False)
    assert capsys.readouterr().err == "args = ['one']\nis_new = False\n"
