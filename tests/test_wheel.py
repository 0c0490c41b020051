"""A built wheel works from another folder: configurations and tiny weights travel in it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_an_installed_wheel_runs_from_anywhere(tmp_path: Path, easy_data: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    # The dependencies of this environment, but vovnet itself from the wheel only.
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(environment)], check=True)
    site = next((environment / "lib").glob("python*/site-packages"))
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(here + "\n")
    python = environment / "bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)],
        check=True,
        capture_output=True,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = subprocess.run(
        [python, "-c", "import vovnet; print(vovnet.__file__)"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(site) in where.stdout
    small = [f"dataset.path={easy_data}", "eval.max_samples=12"]
    for name, arguments in {
        "vovnet-train": ["training.max_samples=40", "training.epochs=2"],
        "vovnet-eval": ["-m", "policy.lambda_cost=0,0.1"],
        "vovnet-store": [],
    }.items():
        process = subprocess.run(
            [environment / "bin" / name, *arguments, *small], cwd=elsewhere, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
    assert list((elsewhere / "multirun").glob("eval-*/results.csv"))
