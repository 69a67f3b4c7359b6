"""social-core's own tests, unmodified from its source distribution, on svcctl's steps.

Of the 2544 tests of social-core 7.0.0 (without those of its Shopify backend, which need Shopify's
library), 833 call one of our steps, and 832 of these pass; so does every other one that passes with
social-core's steps. What does not pass, and why, is `DIFFERENT`.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from svcctl.hooks.testing.server import absent
from tests.live.environments import NotInstalled, source_of

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
DIFFERENT = {
    # Where nothing is to do, `user_details` does not look for a storage that is not configured: in
    # svcctl there always is one.
    "test_auth_failure_boundaries.py::AuthenticationFailureBoundaryTest"
    "::test_missing_storage_is_reported_at_each_pipeline_entry"
}


def test_social_cores_tests_pass_on_our_steps(tmp_path: Path) -> None:
    try:
        source, packages = source_of("social-auth-core", "responses<1", "google-auth<3")
    except NotInstalled as error:
        absent(str(error))
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "tests.live.social_core_steps",
    ]
    done = subprocess.run(
        [
            *command,
            *("-c", os.devnull, "--rootdir", source),
            *("--ignore", source / "social_core/tests/backends/test_shopify.py"),
            source / "social_core/tests",
        ],
        check=False,
        capture_output=True,
        encoding="utf-8",
        cwd=source,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, (source, ROOT, packages))),
            "SVCCTL_REPORT": str(report),
        },
    )
    assert report.exists(), done.stdout + done.stderr
    came_of: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    failed = {name for name, entry in came_of.items() if entry["outcome"] == "failed"}
    assert {name.removeprefix("social_core/tests/") for name in failed} == DIFFERENT, done.stdout
    ours = Counter(entry["outcome"] for entry in came_of.values() if entry["steps"])
    assert ours["passed"] >= 832
