"""experiments/outcomes.md: its script, commands and code run in order, on the packaged backbone."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from tests.commands import ROOT, command
from tests.families import beside

PAGE = (ROOT / "experiments/outcomes.md").read_text(encoding="utf-8")
COUNT = 20
SMALLER = {
    "Qwen/Qwen3-VL-2B-Instruct": str(ROOT / "vovnet/vlm/checkpoints/tiny"),
    '"coarse": 256, "full": 1024': '"coarse": 16, "full": 64',
    "200": str(COUNT),
}
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def shrunken(text: str) -> str:
    for old, new in SMALLER.items():
        text = text.replace(old, new)
    return text


def run_python(code: str, folder: Path) -> None:
    file = folder / "block.py"
    file.write_text(f"import os\nos.chdir({str(folder)!r})\n{shrunken(code)}")
    done = beside.run(str(file))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_page_runs_from_its_first_block_to_its_last(tmp_path: Path) -> None:
    for language, block in BLOCKS:
        if language == "python":
            run_python(block, tmp_path)
            continue
        for line in block.splitlines():
            entry, *arguments = shlex.split(shrunken(line).removeprefix("python -m experiments."))
            done = command(entry, *arguments, cwd=tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    with next(tmp_path.glob("multirun/eval-*/results.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["backbone"], row["engine"], row["num_samples"]) for row in rows} == {
        ("my_2b", "transformers 5.23", str(COUNT))
    }
    assert (tmp_path / "multirun/report/report.html").is_file()
    assert len(list(tmp_path.glob("multirun/store/*/changed.jsonl"))) == 2
