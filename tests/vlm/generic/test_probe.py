"""The command that tries checkpoint folders."""

import json
from pathlib import Path

from tests.commands import command, last_line
from tests.families import beside
from vovnet.vlm.generic.probe import Row, untried


def test_a_folder_of_folders_gives_a_table_and_a_page(tmp_path: Path) -> None:
    (tmp_path / "of").mkdir()
    (tmp_path / "of/good").symlink_to(beside.checkpoints() / "llava")
    (tmp_path / "of/bad").mkdir()
    (tmp_path / "of/bad/config.json").write_text(json.dumps({"model_type": "llava"}))
    done = command("families", str(tmp_path / "of"), "--markdown", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stderr
    assert "1 of 2 run" in (page := (tmp_path / "page.md").read_text())
    assert "| llava (good) | yes | 16, 16, 16 | 16, 16, 16 | 2 |" in page
    assert "has no *.safetensors weights" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_it_fails_where_none_runs(tmp_path: Path) -> None:
    done = command("families", str(tmp_path))
    assert (done.returncode, "holds no checkpoint" in last_line(done)) == (1, True)
    (tmp_path / "config.json").write_text("{")
    done = command("families", str(tmp_path))
    assert (done.returncode, "none of 1 checkpoints runs" in last_line(done)) == (1, True)
    assert "is not valid JSON" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_other_model_types_are_listed_with_what_transformers_says_of_them() -> None:
    others = dict(untried([Row("one", "gemma3"), Row("two", "glm46v")]))
    assert others["florence2"] == "an encoder-decoder, which is out of scope"
    assert others["shieldgemma2"] == "has the model class of gemma3"
    assert others["evolla"] == "EvollaProcessor takes no images"
    assert others["pi0"] == "its image processor needs torchvision; no checkpoint was given"
    assert others["aria"] == "no checkpoint was given"
    assert "gemma3" not in others
