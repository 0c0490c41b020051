"""Parts are found by registration, by entry point, by path; a source that changes is another part."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet import registry
from vovnet.errors import VoVNetError


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered or installed."""
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(registry, "_installed", dict)


def one(value: int, *, scale: int = 1) -> int:
    return value * scale


class Other:
    pass


def test_a_registered_part_is_found_under_its_kind_only() -> None:
    assert registry.register("metric", "one")(one) is one
    assert registry.find("metric", "one") is one
    assert registry.find("scorer", "one") is None
    assert registry.names("metric") == ("one",)
    assert registry.names("scorer") == ()


def test_a_name_belongs_to_one_part() -> None:
    registry.register("metric", "one")(one)
    registry.register("metric", "one")(one)  # a notebook's cell that is run again
    with pytest.raises(VoVNetError, match=r"metric 'one' exists already; register .*Other under another name"):
        registry.register("metric", "one")(Other)


@pytest.mark.parametrize("name", [name for name in registry.POLICIES if name])
def test_no_policy_of_vovnet_is_replaced(name: str) -> None:
    with pytest.raises(VoVNetError, match="exists already"):
        registry.register("policy", name)(Other)


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(VoVNetError, match="choose one of dataset, scorer"):
        registry.register("router", "mine")


def test_an_installed_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"metric.gone": EntryPoint("metric.gone", "no_such_package:one", "vovnet")}
    monkeypatch.setattr(registry, "_installed", lambda: entries)
    assert registry.names("metric") == ("gone",)
    with pytest.raises(VoVNetError, match=r"'gone' is announced .* no_such_package:one cannot be loaded"):
        registry.find("metric", "gone")


@pytest.mark.parametrize("target", ["nothing", "no_such.part", "tests.test_registry.absent", "", ".", "..x", "json."])
def test_a_path_that_leads_nowhere_is_named(target: str) -> None:
    with pytest.raises(VoVNetError, match="cannot be imported"):
        registry.load(target)


def test_a_module_that_fails_when_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails_at_once.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VoVNetError, match="RuntimeError: two\\)") as caught:
        registry.load("fails_at_once.part")
    assert "\n" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(["scale", "wrong", "other"]), st.integers()))
def test_options_are_those_of_the_signature(options: dict[str, int]) -> None:
    if set(options) <= {"scale"}:
        assert registry.call("metric", one, (3,), options) == 3 * options.get("scale", 1)
    else:
        with pytest.raises(VoVNetError, match=r"tests\.test_registry\.one does not take its options"):
            registry.call("metric", one, (3,), options)


def test_an_error_inside_a_part_is_its_own() -> None:
    def fails() -> None:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        registry.call("metric", fails, (), {})


def test_the_hash_is_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part_of_a_file.py"
    file.write_text("def part(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    part = registry.load("part_of_a_file.part")
    before = registry.source_hash(part)
    assert before == registry.source_hash(part)
    file.write_text("def part(): ...\n# changed\n")
    assert registry.source_hash(part) != before
    monkeypatch.delitem(sys.modules, "part_of_a_file")


def test_a_part_without_a_source_is_refused() -> None:
    space: dict[str, object] = {"__name__": "nowhere"}
    exec("def part(): ...", space)
    for part in (space["part"], len):
        with pytest.raises(VoVNetError, match="define it in a file"):
            registry.source_hash(part)
