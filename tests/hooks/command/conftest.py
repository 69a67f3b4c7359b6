"""`documented_program`: the program that the documentation shows."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "services-without-python.md"


@pytest.fixture
def documented_program() -> str:
    text = PAGE.read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(script)
