"""One cluster for each test process, with VOVNET_SLURM=1; where it cannot be started then, its tests fail."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.test_commands import base  # noqa: F401
from tests.slurm.cluster import REQUIRED, Cluster, NoCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster. Its folder is not pytest's, whose names are too long for a socket."""
    if not REQUIRED:
        pytest.skip("VOVNET_SLURM=1 installs and starts a Slurm")
    running = Cluster(Path(tempfile.mkdtemp(prefix="vovnet-slurm-")))
    try:
        running.start()
    except NoCluster as reason:
        pytest.fail(f"no Slurm although VOVNET_SLURM=1: {reason}")
    yield running
    running.stop()
    shutil.rmtree(running.folder)


@pytest.fixture(autouse=True)
def on_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of the test submit to the cluster."""
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)
