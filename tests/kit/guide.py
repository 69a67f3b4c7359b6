"""What stands in the guide."""

import re
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs" / "write-a-hook.md").read_text(encoding="utf-8")
ROSTER, CLUB, POLICY, ROSTER_TESTS, SERVER = re.findall(
    r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL
)
