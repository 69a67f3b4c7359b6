"""social-core's own tests, unmodified from its source distribution, on svcctl's steps and @partial.

Of the 2544 tests of social-core 7.0.0 (without those of its Shopify backend, which need Shopify's
library), 835 call one of our steps; 834 of these pass, and so does every other test that passes on
social-core's own, but for five. What does not pass, and why, is `DIFFERENT`.

| social-core's        | tests | call our steps | pass | counterparts in tests/pipeline        |
|----------------------|-------|----------------|------|---------------------------------------|
| test_pipeline        | 20    | 17             | all  | test_steps_runs, _user                |
| test_names           | 51    | 30             | all  | test_steps_social                     |
| test_mail            | 12    | 2              | all  | test_steps_mail                       |
| test_groups          | 23    | 3              | all  | test_steps_social, test_allowed       |
| test_identifier_...  | 41    | 36             | all  | test_steps_migration                  |
| test_partial         | 7     | 0              | 2    | test_partial_step                     |
| actions              | 38    | 30             | all  | test_steps_runs, _disconnect          |
| test_auth_failure_.. | 41    | 2              | 40   | test_steps_social                     |
| backends             | 2059  | 715            | all  |                                       |
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
_DECORATED = "test_partial.py::PartialDecoratorTestCase::test_"
DIFFERENT = {
    # Where nothing is to do, `user_details` does not look for a storage that is not configured: in
    # svcctl there always is one.
    "test_auth_failure_boundaries.py::AuthenticationFailureBoundaryTest"
    "::test_missing_storage_is_reported_at_each_pipeline_entry",
    # They replace a function inside of social-core's @partial, which ours does not have.
    f"{_DECORATED}allow_external_resume",
    f"{_DECORATED}not_to_save_to_session",
    f"{_DECORATED}response_type_follows_strategy",
    f"{_DECORATED}save_to_session",
    f"{_DECORATED}save_to_session_by_backward_compatible_decorator",
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
    assert ours["passed"] >= 834
