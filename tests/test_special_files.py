"""A named pipe, a socket or a device in a file's place is refused in a sentence and never waited for."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Configure
from tests.data.test_bad_rows import FILES, GOOD, opened, write
from tests.policy.test_route import policy_file
from vovnet.data import ImageRef
from vovnet.data.leaks import recalled
from vovnet.errors import VoVNetError
from vovnet.files import open_file, read_object
from vovnet.jobs import read_record
from vovnet.policy.checkpoint import read_card
from vovnet.policy.ddp_checkpoint import load_ddp_policy
from vovnet.report.runs import find_runs
from vovnet.results.evaluate import evaluate
from vovnet.results.existing import existing_summary
from vovnet.results.matching import matched_row
from vovnet.results.read import read_predictions, read_results, read_summary
from vovnet.vlm.files import find_checkpoint, open_checkpoint


@contextmanager
def at_once() -> Iterator[None]:
    """Fails what waits."""

    def late(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def make_pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        kinds = {
            "a named pipe": make_pipe(tmp_path / "pipe"),
            "a socket": tmp_path / "socket",
            "a device": Path("/dev/zero"),
        }
        (tmp_path / "link").symlink_to("pipe")
        for kind, path in [*kinds.items(), ("a named pipe", tmp_path / "link")]:
            with at_once(), pytest.raises(OSError, match=f"it is {kind} and no file"):
                open_file(path)
    (tmp_path / "file").write_bytes(b"x")
    with open_file(tmp_path / "file") as file:
        assert file.read() == b"x"


READERS: dict[str, Callable[[Path], object]] = {
    "policy.safetensors": read_card,
    "results.csv": read_results,
    "predictions.jsonl": lambda path: read_predictions(path.parent),
    "summary.json": lambda path: read_summary(path.parent),
    "job.json": lambda path: read_record(path.parent),
    "table": lambda path: matched_row(path, None, "easy_vqa", "test"),
    "a.png": lambda path: ImageRef("a", path).load(),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("place", ["pipe", "/dev/zero"])
def test_every_reader_names_it(tmp_path: Path, name: str, place: str) -> None:
    path = tmp_path / name
    make_pipe(path) if place == "pipe" else path.symlink_to(place)
    with at_once(), pytest.raises(VoVNetError, match=r"(pipe|device) and no file") as caught:
        READERS[name](path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FILES))
def test_in_a_tables_place(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, [GOOD[name]])
    make_pipe(tmp_path / FILES[name])
    with at_once(), pytest.raises(VoVNetError):
        opened(name, path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "extra.safetensors"])
def test_in_a_backbones_folder(qwen3: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "model"))
    make_pipe(folder / name)
    with at_once(), pytest.raises(VoVNetError, match="it is a named pipe and no file"):
        open_checkpoint(folder)


def test_as_a_checkpoint_of_torch(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    with at_once(), pytest.raises(VoVNetError, match="it is a named pipe and no file"):
        load_ddp_policy(make_pipe(tmp_path / "checkpoint-1.pt"), config, find_checkpoint(config.backbone))


def test_among_runs(tmp_path: Path) -> None:
    make_pipe(tmp_path / "summary.json")
    with (
        at_once(),
        pytest.raises(VoVNetError, match=r"summary\.json cannot be read \(it is a named pipe and no file\);"),
    ):
        find_runs([tmp_path])
    with at_once():
        assert existing_summary(tmp_path, "key", None) is None


def test_in_place_of_a_memory_of_ours(tmp_path: Path) -> None:
    (tmp_path / "leaks").mkdir()
    make_pipe(tmp_path / f"leaks/{'a' * 16}-{'b' * 16}-3.json")
    with at_once():
        assert recalled("a" * 64, "b" * 64, tmp_path) is None


def test_a_policy_beside_pipes_is_found(configure: Configure, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = policy_file(configure(), runs / "good/policy.safetensors")
    (runs / "odd").mkdir()
    make_pipe(runs / "odd/policy.safetensors")
    with at_once():
        evaluation = evaluate(replace(configure("eval.max_samples=4")), tmp_path / "run")
    assert evaluation.row.checkpoint == str(path)


def deep(levels: int) -> str:
    return '{"a": ' * levels + "1" + "}" * levels


@pytest.mark.parametrize("content", [deep(65), deep(900), '{"a": ' + "[" * 300 + "]" * 300 + "}", deep(10**5)])
def test_what_is_nested_deeper_than_code_can_walk_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="it is nested too deeply"):
        read_object(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(deep(60))
    assert read_object(tmp_path / "a.json")


def test_what_is_larger_than_memory_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="it is larger than 256 MB"):
        read_object(tmp_path / "a.json")
