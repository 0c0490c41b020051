"""Every command that README.md and the pages of the guide print is run as printed, on the embedded default.

Only sizes are appended. What cannot be run in minutes or without a network is listed in ``NOT_RUN`` with its reason,
and composed. Other pages have tests of their own (``tests/examples``, ``tests/vlm``).
"""

import hashlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.commands import ROOT, Done
from tests.commands import command as run
from tests.composer import composed
from vovnet.compose import to_typed
from vovnet.locks import Claim

PAGES = "README.md README.zh.md data.md backbones.md policies.md training.md cluster.md report.md".split()
GUIDES = (ROOT / "README.md", *(ROOT / "experiments" / page for page in PAGES))

NOT_RUN = {
    "python -m experiments.eval -m backbone=folder backbone.path=vovnet/vlm/checkpoints/tiny "
    "policy/baseline=always_full,always_coarse,no_vision": "names a folder of the checkout, and these commands run in "
    "another one; tests/vlm/generic runs its like",
    "python -m venv .venv": "tests/test_wheel.py makes a virtual environment",
    "pip install -e .": "needs the network; tests/test_wheel.py installs a wheel",
    "pip install -e '.[dev]'": "needs the network",
    "python -m pytest -n 2": "is this suite",
    "python -m experiments.families FOLDER": "tests/vlm/generic/test_probe.py runs it",
    "python -m experiments.tiny_backbone": "trains from random weights for most of an hour; "
    "tests/experiments/tiny_backbone trains a smaller one",
    "python -m experiments.pipeline": "tests/experiments/test_commands.py runs it and looks at what it leaves",
    "python -m experiments.train 'policy.looks=[no,coarse,{long_side:32},{long_side:64,merge:0.75},full]'": "trains as "
    "d4_action_space does, which has a menu of its own too",
    "python -m experiments.preflight train backbone=qwen3_vl_2b dataset=textvqa": "asks "
    "the hub; tests/test_preflight.py",
    "python -m experiments.train backbone=qwen3_vl_2b dataset=textvqa training.max_samples=4000": "needs the network",
    "python -m experiments.eval -m backbone=qwen3_vl_2b dataset=textvqa policy.lambda_cost=0,0.02,0.05,0.1,0.2": (
        "needs the network"
    ),
    "python -m experiments.pipeline +experiment=equal_cost": "some 250 evaluations, whose kinds run here in other "
    "recipes; tests/experiments/test_recipes.py composes its stages",
    "python -m experiments.pipeline +experiment=guide": "runs the other recipes, for hours",
    "python -m experiments.pipeline +experiment=learning_curve": "trains six policies as equal_cost does",
    "python -m experiments.pipeline +experiment=c1_leave_one_out": "trains and sweeps as c1_generalization does, four "
    "times; tests/experiments/test_recipes.py composes its stages",
    "python -m experiments.pipeline +experiment=c1_other_backbone": "two trainings as in a0_two_stages; what is new, "
    "eval.other_backbone, is in tests/policy/test_route.py",
    "python -m experiments.pipeline +experiment=sequential_menu": "trains and sweeps for minutes; d4_action_space has "
    "its menu, and tests/policy/test_route.py a policy that looks again in one",
    "python -m experiments.pipeline +experiment=paper": "some forty processes, whose recipes run here one by one; "
    "tests/experiments/test_recipes.py composes its stages",
}
PAPER = "python -m experiments.report report.width=page report.format=[pdf]"
MERGED = "policy/baseline=always_look 'policy.baseline.look={merge:0.5}'"
# What a command reads, run before it.
AFTER = {
    "python -m experiments.eval -m policy=sequential policy.lambda_cost=0,0.05,0.2,0.5": (
        "python -m experiments.train policy=sequential"
    ),
    "python -m experiments.eval policy/baseline=always_coarse policy.cost_unit=latency": (
        "python -m experiments.profile policy/baseline=always_full"
    ),
    f"python -m experiments.eval {MERGED} policy.cost_unit=latency": (
        "python -m experiments.profile policy/baseline=always_full 'policy.looks=[no,coarse,{merge:0.5},full]'"
    ),
    "python -m experiments.report runs=[multirun/d2_mixture/hard,multirun/d2_mixture/soft]": (
        "python -m experiments.pipeline +experiment=d2_mixture"
    ),
    "python -m experiments.report": "python -m experiments.eval +experiment=b1_fixed",
    PAPER: "python -m experiments.eval +experiment=b1_fixed",
    "python -m experiments.report +experiment=g1_tables": "python -m experiments.eval +experiment=b1_fixed",
    'python -m experiments.ask image=cat.jpg question="What is it?" policy=sequential': (
        "python -m experiments.train policy=sequential"
    ),
    "python -m experiments.match policy.baseline.match=FOLDER": "python -m experiments.eval eval.mode=live",
    "python -m experiments.eval -m dataset=jsonl dataset.path=FOLDER policy.lambda_cost=0,0.05,0.2": (
        "python -m experiments.train dataset=jsonl dataset.path=FOLDER"
    ),
    "python -m experiments.calibrate calibrate.accuracy_kept=0.95 dataset=mini": (
        "python -m experiments.pipeline +experiment=c1_generalization"
    ),
}
# These read all runs of their folder: they are typed in one that holds only what they name in AFTER.
READ_ALL = (PAPER, "python -m experiments.report", "python -m experiments.report +experiment=g1_tables")
TRAINING, EVALUATION = ("training.max_samples=120", "training.epochs=3"), ("eval.max_samples=10",)
SIZES = {
    "train": TRAINING,
    "eval": EVALUATION,
    "collect": EVALUATION,
    "error_slices": EVALUATION,
    "oracle": EVALUATION,
    "profile": ("eval.max_samples=12",),
    "pipeline": (*TRAINING, *EVALUATION),
    "calibrate": ("training.max_samples=150",),
    "report": ("report.samples=5",),
    "prepare": (),
    "match": (),
    "store": (),
    "ask": (),
    "preflight": (),
}
ONE_LAMBDA = ("policy.lambda_cost=0.05",)
SIZES_BESIDE = {
    "a0_two_stages": ("training.stage1_epochs=1",),
    "a2_seeds": ONE_LAMBDA,
    "c1_generalization": ONE_LAMBDA,
    "collapse": ("training.seed=0",),
    "d2_mixture": ONE_LAMBDA,
}
# Files that must lie in the folder that a command names at its end.
OUTPUTS = {
    "train": ("policy.safetensors", "summary.json"),
    "eval": ("results.csv", "summary.json"),
    "error_slices": ("error_slices.csv", "error_slices.json", "results.csv", "summary.json"),
    "oracle": ("analysis_oracle.json", "results.csv", "summary.json"),
    "profile": ("profile.csv", "summary.json"),
    "pipeline": ("results.csv", "summary.json", "eval_matrix.csv", "eval_matrix.json", "frontier.png"),
    "calibrate": ("calibration.csv", "summary.json"),
    "report": ("main_table.tex", "pareto.md", "action_ratio.csv", "report.html", "summary.json"),
    "a2_seeds": ("seeds.csv",),
    "b2_threshold": ("pareto_threshold.csv", "pareto_threshold.json"),
    "b4_pruning": ("pareto_pruning.csv", "pareto_pruning.json"),
    "f2_cache_reuse": ("cache_reuse.csv",),
    "f3_precision": ("precision.csv",),
}
# A sweep of trainings leaves its table, and each policy in a folder of its own.
OUTPUTS_INSTEAD = {"collapse": ("trainings.csv", "jobs.csv", "summary.json")}


def printed(guide: Path) -> list[str]:
    """Commands of a guide: the lines of its bash blocks, and code in its text that runs Python."""
    text = guide.read_text(encoding="utf-8")
    blocks = re.compile(r"^```bash\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks.findall(text) for line in block.splitlines()]
    inline = re.findall(r"`(python [^`\n]*)`", blocks.sub("", text))
    parts = (part.strip().removeprefix(".venv/bin/") for line in (*lines, *inline) for part in line.split("&&"))
    return [part for part in parts if part]


COMMANDS = list(dict.fromkeys(command for guide in GUIDES for command in printed(guide)))
SIZED = re.compile(r"( \w+\.max_samples=\d+)+$")
NOT_RUN |= {
    command: "is above without its size"
    for command in COMMANDS
    if SIZED.sub("", command) in COMMANDS[: COMMANDS.index(command)]
}
NOT_RUN |= {command: "tests/slurm submits its like to a Slurm" for command in COMMANDS if "launcher=slurm" in command}
if "VOVNET_GUIDES" not in os.environ:  # for the suite's time
    LONG = "a0_two_stages b4_pruning d1_features d3_lambda d4_action_space e1_fallback".split()
    NOT_RUN |= {f"python -m experiments.pipeline +experiment={name}": "trains and sweeps as others do" for name in LONG}
RUN = [command for command in COMMANDS if command not in NOT_RUN]


class Terminal:
    """Folders in which commands are typed; all test processes share them, and each command is run once."""

    def __init__(self, folder: Path, mini_data: Path, easy_data: Path) -> None:
        self.folder, self.mini_data, self.easy_data = folder, mini_data, easy_data
        for name in ("typed", "read", "done"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def place(self, command: str) -> Path:
        """The folder in which a command is typed."""
        return self.folder / ("read" if command in READ_ALL else "typed")

    def run(self, command: str, place: Path | None = None) -> Done:
        """Run a command, and before it what it reads."""
        place = place or self.place(command)
        if command in AFTER:
            self.run(AFTER[command], place)
        digest = hashlib.sha256(f"{place.name} {command}".encode()).hexdigest()[:16]
        done = self.folder / "done" / f"{digest}.json"
        with Claim(done.with_suffix(".lock")):
            if not done.exists():
                ended = self._run(command, place)
                done.write_text(json.dumps([command, ended.returncode, ended.stdout, ended.stderr]))
        return Done(*json.loads(done.read_text()))

    def outputs(self, command: str) -> Path:
        """The folder that a command named at its end."""
        (*_, last) = re.findall(r"^outputs: (.*)$", self.run(command).stdout, flags=re.MULTILINE)
        return self.place(command) / last

    def own_questions(self) -> Path:
        """A folder of questions as the README describes it, about easy-VQA's images."""
        folder = self.folder / "own"
        with Claim(self.folder / "own.lock"):
            if not folder.exists():
                folder.mkdir()
                for split in ("train", "test"):
                    self._write_questions(folder, split)
        return folder

    def _write_questions(self, folder: Path, split: str) -> None:
        lines = []
        for question, answer, image in json.loads((self.easy_data / split / "questions.json").read_text())[:60]:
            name = f"{split}_{image}.png"
            shutil.copy(self.easy_data / split / "images" / f"{image}.png", folder / name)
            lines.append(json.dumps({"image": name, "question": question, "answers": [answer]}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))

    def _run(self, command: str, place: Path) -> Done:
        filled = command.replace("dataset=…", f"dataset=easy_vqa dataset.path={self.easy_data}")
        filled = filled.replace("prepare.out=FOLDER", f"prepare.out={place / 'prepared'}")
        if "dataset=jsonl" in filled:
            filled = filled.replace("FOLDER", str(self.own_questions()))
        if entry(command) == "ask":
            shutil.copy(self.easy_data / "test/images/0.png", place / "cat.jpg")
        filled = filled.replace("accuracy_kept=0.95", "accuracy_kept=0.2")  # policies learn from few questions here
        if "match=" in filled:
            filled = filled.replace("FOLDER", str(self.outputs(AFTER[command])))
        assert not re.search("…|FOLDER", filled), "fill the command's placeholder in"
        _, _, _, *arguments = shlex.split(filled)
        named = re.search(r"\+experiment=(\w+)", filled)
        given = {argument.partition("=")[0] for argument in arguments}
        recipe = named[1] if named else ""
        sizes = [s for s in (*SIZES[entry(command)], *SIZES_BESIDE.get(recipe, ())) if s.partition("=")[0] not in given]
        # A recipe's folder is named after what is appended; with its name given it is the guides' folder.
        name = [f"name={recipe}"] if named else []
        shared = (f"paths.data={self.mini_data}", f"paths.store={self.folder / 'outcomes'}")
        return run(entry(command), *arguments, *sizes, *name, *shared, cwd=place)


def entry(command: str) -> str:
    """The entry point that a command runs."""
    (name,) = re.findall(r"-m experiments\.(\w+)", command)
    return str(name)


@pytest.fixture(scope="session")
def terminal(shared: Path, mini_data: Path, easy_data: Path) -> Terminal:
    """A folder in which a policy is trained already."""
    terminal = Terminal(shared / "terminal", mini_data, easy_data)
    terminal.run("python -m experiments.train")
    return terminal


def test_the_guides_print_commands_and_no_more_is_left_out_than_listed() -> None:
    assert all(printed(guide) for guide in GUIDES)
    assert set(NOT_RUN) <= set(COMMANDS)
    assert set(AFTER) <= set(RUN)
    assert {entry(command) for command in RUN} == set(SIZES)


COMPOSED = [
    command
    for command in NOT_RUN
    if "-m experiments." in command and not re.search("experiments.(families|preflight|tiny_backbone)", command)
]


@pytest.mark.parametrize("command", COMPOSED)
def test_what_is_not_run_composes(command: str) -> None:
    _, _, _, *words = shlex.split(command)
    parsed = OverridesParser.create().parse_overrides([word for word in words if word != "-m"])
    first = [str(one.input_line).partition(",")[0] if one.is_sweep_override() else one.input_line for one in parsed]
    assert to_typed(composed(entry(command), [str(word) for word in first]))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        other = page.parent / path if path else page
        assert other.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_a_printed_command_runs(command: str, terminal: Terminal) -> None:
    process = terminal.run(command)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    assert "Traceback" not in process.stderr
    recipe = "".join(re.findall(r"\+experiment=(\w+)", command))
    usual = (*OUTPUTS.get(entry(command), ()), *OUTPUTS.get(recipe, ()))
    for name in OUTPUTS_INSTEAD.get(recipe, usual):
        assert (terminal.outputs(command) / name).exists(), name
