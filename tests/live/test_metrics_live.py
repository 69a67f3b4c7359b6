"""The metrics file, as a real node_exporter shows it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from svcctl.hooks.testing.server import Configure, Server, program
from tests.conftest import Site, Svcctl


@pytest.mark.live
def test_node_exporter_shows_what_was_written(
    site: Callable[[str], Site], svcctl: Svcctl, server: Callable[[Configure], Server]
) -> None:
    made = site(
        '[monitor]\nmetrics_file = "metrics/svcctl.prom"\n'
        '[services.lab]\nhook = "sandbox"\npath = "lab.sqlite"\ncreate = "auto"\n'
        'access.states = ["Guest"]\n'
    )
    (made.folder / "metrics").mkdir()
    for name in ("ada", "bob"):
        assert svcctl("users", "add", name, "--no-sync").exit_code == 0
    assert svcctl("sync", "--all").stderr == ""
    exporter = program("prometheus-node-exporter", "prometheus-node-exporter")

    def configure(_folder: Path, port: int) -> list[str]:
        return [
            exporter,
            f"--web.listen-address=127.0.0.1:{port}",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={made.folder}/metrics",
        ]

    shown = requests.get(f"{server(configure).url}/metrics", timeout=10).text
    assert "node_textfile_scrape_error 0" in shown
    assert 'svcctl_accounts{service="lab",status="active"} 2' in shown
    assert 'svcctl_last_run_exit_code{command="sync",service="lab"} 0' in shown
