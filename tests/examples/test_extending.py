"""The Python of the page on extensions, the README and the notebook runs as printed; only sizes differ."""

import json
import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from tests.commands import ROOT, command
from vovnet import registry

PAGE = ROOT / "experiments/extending.md"
SMALL = {"train_policy(out.train)": "train_policy(out.train, epochs=2)"}


def blocks(page: Path, language: str) -> str:
    """The code of a language on a page, or of a notebook's cells."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"{page} shows no {language}"
    return "\n".join(found)


@pytest.mark.parametrize(
    "page", [PAGE, ROOT / "README.md", ROOT / "experiments/quickstart.ipynb"], ids=lambda page: page.stem
)
def test_the_python_of_a_page_runs(
    page: Path, easy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.sub(r"(max_samples=)600", r"\g<1>24", blocks(page, "python"))
    code = code.replace('load_dataset("easy_vqa")', f'load_dataset("easy_vqa", path={str(easy_data)!r})')
    code = code.replace('["-m", ', f'["-m", "dataset.path={easy_data}", ').replace(
        "= [", f'= ["dataset.path={easy_data}", '
    )
    for whole, short in SMALL.items():
        code = code.replace(whole, short)
    notebook = types.ModuleType("notebook_of_a_page")  # parts are found in the module that defines them
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "notebook_of_a_page.py"
    file.write_text(code)
    notebook.__file__ = str(file)
    exec(compile(code, str(file), "exec"), vars(notebook))
    assert (tmp_path / "multirun/outcomes").is_dir()


@pytest.mark.parametrize("line", blocks(PAGE, "bash").splitlines())
def test_a_command_of_the_page_runs(line: str, easy_data: Path, charts: Path, tmp_path: Path) -> None:
    place = f"dataset.path={easy_data}" if "FOLDER" not in line else ""
    filled = line.replace("experiments/examples/conf", str(ROOT / "experiments/examples/conf")).replace(
        "FOLDER", str(charts)
    )
    _, _, module, *arguments = shlex.split(filled)
    learns = ["policy.baseline.questions=24"] if "=words" in line else []
    done = command(
        module.rpartition(".")[2], *arguments, *learns, *[place] * bool(place), "eval.max_samples=8", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
