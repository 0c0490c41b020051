"""A data set that a file names is opened where it is, and neither drawn nor downloaded."""

import logging
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from tests.conftest import compose_config
from tests.data.test_bad_rows import configured
from tests.data.test_benchmarks import mmbench_parquet
from vovnet.data import load_dataset
from vovnet.data.hub import ask_hub
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig, GenerateConfig, HubConfig


def drawn(name: str, folder: Path, size: int) -> DatasetConfig:
    return replace(configured(name), path=str(folder), generate=GenerateConfig(0, size, size))


@pytest.mark.parametrize("name", ["mini_mmbench", "mini_mmmu", "mini_textvqa"])
def test_a_mini_set_is_drawn_by_its_owner_only(tmp_path: Path, name: str) -> None:
    mixture = replace(configured("mini"), parts={"one": drawn(name, tmp_path / "new/set", 10**12)})
    for config in (mixture, mixture.parts["one"]):
        with pytest.raises(VoVNetError, match=rf"new/set holds no {name}; draw it by a command of your own"):
            load_dataset(config, "train", only_local=True)
    assert list(tmp_path.iterdir()) == []
    there = drawn(name, tmp_path / "set", 4)
    own = load_dataset(there, "train")
    assert load_dataset(there, "train", only_local=True).fingerprint == own.fingerprint
    with pytest.raises(VoVNetError, match="is asked for"):
        load_dataset(drawn(name, tmp_path / "set", 10**12), "train", only_local=True)


def test_the_packaged_set_is_there() -> None:
    assert len(load_dataset(compose_config().dataset, "test", only_local=True)) == 9673


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the layout of a hub repository, with caches of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    mmbench_parquet(tmp_path / "table.parquet")
    table = datasets.Dataset.from_parquet(str(tmp_path / "table.parquet"), cache_dir=str(tmp_path / "c"))
    folder = tmp_path / "repository"
    (folder / "en").mkdir(parents=True)
    table.cast_column("image", datasets.Image()).to_parquet(folder / "en/dev-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: dev\n    path: en/dev-*\n---\n"
    )
    return folder


def test_a_set_of_the_hub_is_opened_again_without_asking_the_hub(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(configured("mmbench"), hub=HubConfig(str(repository), ("en",), None, "dev"))
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub is asked"))
        with pytest.raises(
            VoVNetError, match=r"is not in this machine's cache \(it was never opened here\); open it by"
        ):
            load_dataset(config, "test", only_local=True)
    own = load_dataset(config, "test")
    pixels = own[0].images[0].load().tobytes()
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub is asked"))
    again = load_dataset(config, "test", only_local=True)
    assert again.fingerprint == own.fingerprint
    assert again[0].images[0].load().tobytes() == pixels


def test_a_cache_that_is_gone_is_said(repository: Path, tmp_path: Path) -> None:
    config = replace(configured("mmbench"), hub=HubConfig(str(repository), ("en",), None, "dev"))
    load_dataset(config, "test")
    for file in (tmp_path / "cache").rglob("*.arrow"):
        file.unlink()
    with pytest.raises(VoVNetError, match="is not in this machine's cache"):
        load_dataset(config, "test", only_local=True)


def test_the_hub_is_asked_with_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from huggingface_hub.utils import logging as hub_logging

    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "level", hub_logging.get_verbosity())  # put back
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ask_hub("org/name")
    assert not caplog.records
    monkeypatch.delenv("HF_HUB_OFFLINE")
    ask_hub("org/name")
    assert [record.getMessage() for record in caplog.records] == [
        "looking org/name up on the hub; where it does not answer, it is asked again for about half a minute"
    ]
    hub_logging.get_logger("huggingface_hub.retries").warning("Retrying in 1s [Retry 1/5].")
    logging.getLogger("httpx").info("HTTP Request")
    assert len(caplog.records) == 1
