"""Tasks of lmms-eval as data sets: held to VoVNet's own readers, and refused where VoVNet cannot ask them."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

import vovnet
from tests.lmms import TASKS, lmms_folder
from vovnet.data import VQADataset, load_dataset, prompt_text
from vovnet.data.lmms_source import OpenTask, TaskOptions
from vovnet.data.mini.generate import ensure_mini
from vovnet.data.sample import SampleRule
from vovnet.errors import VoVNetError
from vovnet.outcomes.judge import make_judge
from vovnet.outcomes.keys import scorer_facts
from vovnet.schema import DatasetConfig, GenerateConfig

PAGE = TASKS.parents[2] / "experiments/lmms_eval.md"
IMAGES = {"mini_mmbench": 8, "mini_mmmu": 24, "mini_textvqa": 16}  # MMMU: so many that no subject's file is empty


@pytest.fixture(scope="session", autouse=True)
def lmms_eval() -> Iterator[None]:
    """lmms-eval is importable."""
    sys.path.append(str(lmms_folder()))
    yield
    sys.path.remove(str(lmms_folder()))


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with task YAMLs and the rows of ``small``."""
    folder = tmp_path / "tasks"
    shutil.copytree(TASKS, folder)
    for file in folder.glob("mini_mmmu.yaml"):  # lmms-eval finds a pattern from the working directory only
        file.write_text(file.read_text().replace('"mini_mmmu/', f'"{folder}/mini_mmmu/'))
    rows = [{"id": i, "question": f"q{i}?", "answer": "yes", "colour": "red" if i < 2 else "blue"} for i in range(3)]
    (folder / "small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # some tasks want to know it
    return folder


def small(tasks: Path, **options: object) -> VQADataset:
    return vovnet.load_dataset("lmms", task="small", include_path=str(tasks), **options).split("test")


ANSWERS = ("A", "B", "the answer is C.", "nonsense", "red", "7", "", "I cannot see the image.")


@pytest.mark.parametrize("name", ["mini_mmbench", "mini_mmmu", "mini_textvqa"])
def test_a_task_equals_the_reader_of_the_same_files(name: str, tasks: Path) -> None:
    ensure_mini(name, tasks / name, GenerateConfig(0, 12, IMAGES[name]))
    ours = vovnet.load_dataset(name, path=str(tasks / name), generate=None).split("test")
    theirs = vovnet.load_dataset("lmms", task=name, include_path=str(tasks)).split("test")
    assert len(ours) == len(theirs) >= 16
    mine, judge = make_judge(ours), make_judge(theirs)
    for row in range(len(ours)):
        one, other = ours[row], theirs[row]
        assert (one.id, one.answers, prompt_text(ours, one)) == (other.id, other.answers, prompt_text(theirs, other))
        assert [i.load().tobytes() for i in one.images] == [i.load().tobytes() for i in other.images]
        assert [i.size() for i in one.images] == [i.size() for i in other.images]
        for answer in (*one.answers[:1], *one.options[:1], ANSWERS[row % len(ANSWERS)]):
            assert judge(row, answer).target == mine(row, answer).target, answer


def test_interleaved_prompts_are_lmms_evals_messages(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and images in the order of the chat prompts that its models are given."""
    from lmms_eval.tasks.mmmu import utils

    monkeypatch.setitem(utils.config["metadata"], "interleaved_format", False)  # set by its first message, for good
    ensure_mini("mini_mmmu", tasks / "mini_mmmu", GenerateConfig(0, 12, IMAGES["mini_mmmu"]))
    options = {"path": str(tasks / "mini_mmmu"), "generate": None, "interleave": True}
    ours = vovnet.load_dataset("mini_mmmu", **options).split("test")
    opened = OpenTask(TaskOptions("mini_mmmu", str(tasks)), "test")
    several = 0
    for row in range(len(ours)):
        (message,) = utils.mmmu_doc_to_messages(opened.whole[row], opened.task.lmms_eval_specific_kwargs)
        sample = ours[row]
        texts, shown = sample.around_images(prompt_text(ours, sample)), [one.load().tobytes() for one in sample.images]
        parts = [texts[0], *(part for pair in zip(shown, texts[1:], strict=True) for part in pair)]
        theirs = [one["text"] if one["type"] == "text" else one["url"].tobytes() for one in message["content"]]
        assert [part for part in parts if part] == theirs
        several += len(shown) > 1
    assert several


def test_a_row_whose_image_is_broken_is_refused_or_left_out(tasks: Path) -> None:
    with (tasks / "small.py").open("a") as file:
        file.write(
            "\n\ndef visual(doc):\n    return [Image.open(Path(__file__).with_name(f'{doc[\"colour\"]}.png'))]\n"
        )
    Image.new("RGB", (8, 8), "red").save(tasks / "red.png")
    (tasks / "blue.png").write_bytes((tasks / "red.png").read_bytes()[:50])
    with pytest.raises(VoVNetError, match="row 3: it shows no image, or one that cannot be decoded"):
        small(tasks)
    found = small(tasks, on_error="skip")
    assert (len(found), len(found.skipped)) == (2, 1)


def test_a_row_whose_annotators_said_nothing_is_refused(tasks: Path) -> None:
    """TextVQA's evaluator gives 1.0 to "", "the" and "A." there."""
    rows = [json.loads(line) for line in (tasks / "small.jsonl").read_text().splitlines()]
    rows[1]["answer"] = " "
    (tasks / "small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(VoVNetError, match="row 2: it has no reference answer"):
        small(tasks)


def test_questions_about_one_image_are_one_group(tasks: Path) -> None:
    found = small(tasks)
    assert [found[row].group == found[0].group for row in range(3)] == [True, True, False]


def test_a_metric_becomes_a_score_between_zero_and_one(tasks: Path) -> None:
    scores = {}
    for metric, scale in ((None, 1), ("percent", 100), ("scored", 1), ("whole", 1)):
        found = small(tasks, metric=metric, scale=scale)
        scores[found.metric] = [make_judge(found)(0, answer).value for answer in ("yes", "no")]
    assert scores == {"half": [0.5, 0.0], "percent": [1.0, 0.0], "scored": [1.0, 0.0], "whole": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"metric": "percent"}, r"percent=100, outside of \[0, 1\]; set dataset.scale"),
        ({"metric": "errors"}, r"counts errors \(higher_is_better: false\)"),
        ({"metric": "judged"}, r"metric judged asks a judge or server by requests"),
        ({"metric": "submission"}, r"gives no number for the question 0"),
        ({"metric": "other"}, r"no metric of lmms/small; choose one of submission, half"),
        ({"target": "other"}, r"dataset.target=other is no column of the task; choose one of id, question"),
    ],
)
def test_a_metric_that_is_no_score_is_refused(options: dict[str, str], sentence: str, tasks: Path) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        small(tasks, **options)


def test_an_answer_ends_where_the_task_says_and_a_drawn_one_is_unread(tasks: Path) -> None:
    judge = make_judge(small(tasks))
    assert [judge(0, answer).value for answer in ("yes\nor no", "yes or no")] == [0.5, 0.0]
    assert {(judge(row, "guess").value, judge(row, "guess").parsed) for row in range(3)} == {(0.0, False)}


def test_a_run_is_aggregated_by_the_task(tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = small(tasks)
    rule = found.member(0).scorer
    assert isinstance(rule, SampleRule)
    samples = [found[row] for row in range(3)]
    state = np.random.get_state()[1].tolist()
    said = rule.official(samples, ["yes", "guess", None])
    assert said == rule.official(samples, ["yes", "guess", None])
    assert capsys.readouterr().out == ""
    assert (said["half"], said["percent"], said["whole"]) in {(1 / 6, 100 / 3, 1 / 3), (1 / 3, 200 / 3, 2 / 3)}
    assert said["scored"] == "not aggregated (AssertionError: results come in pairs)"
    assert said["judged"] == "not aggregated (it asks a judge or server by requests)"
    assert rule.official(samples[:2], ["yes", "yes"])["scored"] == 2.0
    assert np.random.get_state()[1].tolist() == state


def test_the_official_scores_are_in_the_summary(tasks: Path, tmp_path: Path) -> None:
    (line,) = (line for line in PAGE.read_text().splitlines() if line.startswith("python -m exp") and "FOLDER" in line)
    given = line.replace("NAME", "small").replace("FOLDER", str(tasks)).split()[3:]
    done = vovnet.run("eval", [*given, f"paths.runs={tmp_path}/runs"])
    (summary,) = Path(done.folder).rglob("summary.json")
    found = json.loads(summary.read_text())
    scores = found["scores"]["lmms_small"]
    assert (scores["name"], scores["value"]) == ("half", scores["metrics"]["half"])
    assert found["tasks"]["lmms_small"]["decoding"] == {"until": ["\n"], "max_new_tokens": 3}
    assert done.results[0].dataset == "lmms_small"


def test_another_source_makes_other_keys(tasks: Path) -> None:
    before = small(tasks)
    with (tasks / "small.py").open("a") as file:
        file.write("# another\n")
    after = small(tasks)
    assert before.fingerprint != after.fingerprint
    assert scorer_facts(before) != scorer_facts(after)
    assert scorer_facts(after) != scorer_facts(small(tasks, metric="whole"))


def test_questions_of_a_mixture_keep_their_tasks_scores(tasks: Path) -> None:
    one = vovnet.load_dataset("lmms", task="small", include_path=str(tasks)).config
    both = load_dataset(
        vovnet.load_dataset("mini", parts={"a": one, "b": one}).config,
        "test",
    )
    judge = make_judge(both)
    assert [judge(row, "yes").value for row in range(6)] == [0.5] * 6


def test_a_file_never_runs_a_tasks_python(tasks: Path) -> None:
    config = vovnet.load_dataset("lmms", task="small", include_path=str(tasks)).config
    card = TypeAdapter(DatasetConfig).dump_json(config)
    named = TypeAdapter(DatasetConfig).validate_json(card)
    with pytest.raises(VoVNetError, match="code is only taken from a configuration that you compose"):
        load_dataset(named, "test", only_local=True)
    assert not (tasks / "ran").exists()
    load_dataset(config, "test")
    assert (tasks / "ran").exists()


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (None, "give dataset.task=NAME"),
        ("smal", r"no lmms-eval task smal in .*similar names: small"),
        ("docvqa", "docvqa is a group of lmms-eval tasks"),
        ("mmvet", r"asks a judge or server by (lmms_eval\.llm_judge|openai)"),
        ("tempcompass_multi_choice", "it shows videos"),
        ("mmmu_val_pass64", "it asks each question 64 times"),
    ],
)
def test_a_task_that_cannot_be_asked_is_refused_before_its_data(task: str | None, sentence: str, tasks: Path) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        vovnet.load_dataset("lmms", task=task, include_path=str(tasks)).split("test")


def test_a_split_that_the_task_lacks_is_named(tasks: Path) -> None:
    with pytest.raises(VoVNetError, match="has no train split; name one by training_split"):
        vovnet.load_dataset("lmms", task="small", include_path=str(tasks)).split("train")


def test_data_of_the_hub_are_named_where_they_are_missing(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between lmms-eval's five attempts
    with pytest.raises(VoVNetError, match=r"pope \(lmms-lab-encoder/POPE\) cannot be opened .* set dataset.path="):
        vovnet.load_dataset("lmms", task="pope").split("test")
