"""What a configuration may say of code, and who may say it."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vovnet import registry
from vovnet.errors import VoVNetError
from vovnet.schema.code import Code, Metrics, read_code
from vovnet.schema.data import Dataset

PATH = "tests.schema.test_code.counted"


def counted(*given: object, factor: float = 1.0) -> float:
    return len(given) * factor


def test_code_is_a_path_with_options_a_path_or_the_part_itself() -> None:
    full = read_code("metric", {registry.TARGET: PATH, "factor": 2.0}, trusted=True)
    assert full is not None
    assert (full.name, full("a", "b"), full.source) == ("counted", 4.0, registry.source_hash(counted))
    assert read_code("metric", PATH, trusted=True) == read_code("metric", counted, trusted=True)
    assert read_code("metric", None, trusted=True) is None


@given(
    st.dictionaries(st.text(min_size=1), st.integers() | st.text()), st.dictionaries(st.text(min_size=1), st.integers())
)
def test_the_identity_is_that_of_path_source_and_options(one: dict[str, object], other: dict[str, object]) -> None:
    first, second = (Code("metric", PATH, options, "s") for options in (one, other))
    assert (first.identity == second.identity) == (one == other)
    assert Code("metric", PATH, one, "t").identity != first.identity
    assert Code("metric", PATH + "2", one, "s").identity != first.identity


def test_what_a_file_says_is_read_and_never_called() -> None:
    kept = json.loads(json.dumps(asdict(Code("metric", "no_such_package.part", {"a": 1}, "s"))))
    for value in (kept, {registry.TARGET: "no_such_package.part", "a": 1}):
        found = TypeAdapter(Metrics).validate_python({"mine": value})["mine"]  # without the user's context
        assert (found.target, found.options, found.trusted) == ("no_such_package.part", {"a": 1}, False)
        with pytest.raises(VoVNetError, match=r"a file names no_such_package\.part as its metric"):
            found()


def test_a_file_cannot_call_itself_trusted() -> None:
    claimed = asdict(Code("metric", "no_such_package.part", {}, "s", trusted=True))
    found = read_code("metric", claimed, trusted=False)
    assert found is not None
    assert not found.trusted


def test_a_section_may_name_its_code_itself() -> None:
    target = "tests.schema.test_code.some_reader"
    given = {"_target_": target, "rows": 3, "path": "/tmp"}
    dataset = TypeAdapter(Dataset).validate_python(given, context=registry.TRUSTED)
    assert (dataset.name, dataset.path, dataset.prompt_template) == ("some_reader", "/tmp", "{question}")
    assert dataset.reader is not None
    assert (dataset.reader.target, dataset.reader.options) == (target, {"rows": 3})


def some_reader(config: object, split: str, rows: int) -> list[object]:
    return [config, split][:rows]
