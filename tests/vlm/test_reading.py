"""What turns files into numbers is part of every key: templates, tokenizers and Pillow, by what they do."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Configure
from vovnet.actions import USUAL
from vovnet.data import decoding, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.results.existing import inputs_key
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm import reading, tokens
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.qwen import loading
from vovnet.vlm.qwen.loading import load_builder
from vovnet.vlm.reading import reading_facts, reading_of

TIMED = "{{ strftime_now('%H:%M:%S.%f') }} {{ messages[0].content[0].text }}"
ALL = {"text", "no", "coarse", "full"}


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is remembered, neither in this process nor in its user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    decoding.decoding_digest.cache_clear()
    yield
    decoding.decoding_digest.cache_clear()


def keys(config: RunConfig, session: Session | None = None) -> dict[str, str]:
    """The ids of a configuration's tables, and its key of a live run."""
    session = session or Session()
    dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone, session=session)
    found = table_keys(config, checkpoint, dataset, looks_of(config, USUAL))
    return {**{name: key.id for name, key in found.items()}, "live": inputs_key(config, dataset, session=session)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_another_filter_decoder_or_tokenizer_changes_the_keys_that_depend_on_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("backbone.chat_template=none")  # no template has to be rendered
    before = keys(config)
    resize, shown, encode = Image.Image.resize, decoding.shown, tokens.encode_user_texts
    with monkeypatch.context() as patched:
        patched.setattr(
            Image.Image, "resize", lambda self, size, resample: resize(self, size, Image.Resampling.LANCZOS)
        )
        decoding.decoding_digest.cache_clear()
        assert changed(before, keys(config)) == {"coarse", "full", "live"}
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "shown", lambda content: shown(content).point(lambda level: level ^ 1))
        decoding.decoding_digest.cache_clear()
        assert changed(before, keys(config)) == {"coarse", "full", "live"}
    with monkeypatch.context() as patched:
        patched.setattr(
            tokens, "encode_user_texts", lambda tokenizer, texts: [ids[1:] for ids in encode(tokenizer, texts)]
        )
        patched.setattr(reading, "version", lambda name: "99")  # what is remembered is another version's
        assert changed(before, keys(config)) == ALL | {"live"}
    decoding.decoding_digest.cache_clear()
    assert keys(config) == before


def test_a_picture_that_gets_wider_and_shorter_is_among_those_that_are_tried() -> None:
    """Pillow 13 resizes just these to other pixels than Pillow 12."""
    changes = {(wide > width, high > height) for (width, height), (wide, high) in decoding.RESIZES}
    assert changes == {(True, False), (False, True), (False, False), (True, True)}


def test_a_reading_is_remembered_by_files_and_versions(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure()
    checkpoint = find_checkpoint(config.backbone)
    first = reading_of(config.backbone, checkpoint)
    code = (
        "import sys; from pathlib import Path; from tests.conftest import compose_config\n"
        "from vovnet.vlm.files import find_checkpoint; from vovnet.vlm.reading import reading_of\n"
        f"backbone = compose_config({f'backbone.path={checkpoint.folder}'!r}).backbone\n"
        "print(repr(reading_of(backbone, find_checkpoint(backbone))), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{first!r} False"

    def refuse(folder: Path) -> None:
        raise AssertionError(folder)

    monkeypatch.setattr(loading, "load_processors", refuse)
    assert reading_of(config.backbone, find_checkpoint(config.backbone)) == first
    monkeypatch.setattr(reading, "version", lambda name: "99")
    with pytest.raises(AssertionError):
        reading_of(config.backbone, find_checkpoint(config.backbone))


def test_bare_text_is_another_prompt_and_has_to_be_asked_for(configure: Configure, qwen3: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "copy"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(VoVNetError, match=r"set backbone\.chat_template=none"):
        keys(configure(f"backbone.path={folder}"))
    config = configure(f"backbone.path={folder}", "backbone.chat_template=none")
    builder = load_builder(config.backbone, config.vision_budget, find_checkpoint(config.backbone))
    assert builder.format.head == ()
    assert builder.tokenizer.decode(builder.format.tail) == "\nAnswer:"
    assert changed(keys(configure()), keys(configure("backbone.chat_template=none"))) == ALL | {"live"}


def test_what_a_template_prints_is_in_the_key_and_one_session_prints_one_thing(
    configure: Configure, qwen3: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "copy"))
    (folder / "chat_template.jinja").write_text(TIMED)
    config = configure(f"backbone.path={folder}")
    session = Session()
    before = keys(config, session)
    checkpoint = find_checkpoint(config.backbone, session=session)
    builder = load_builder(config.backbone, config.vision_budget, checkpoint)
    assert builder.tokenizer.decode(builder.format.head) == reading_of(config.backbone, checkpoint).head
    assert keys(config, session) == before
    assert [record.getMessage() for record in caplog.records if "print the date" in record.getMessage()]
    assert changed(before, keys(config)) == ALL | {"live"}  # as another process does
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(VoVNetError, match="several ranks may render at different times; train in one process"):
        keys(config)


def test_weights_alone_are_not_read_for_it(configure: Configure) -> None:
    """Of an adapted or quantised folder the same files are read: what is remembered of one serves the other."""
    config = configure("backbone.chat_template=none")
    checkpoint = find_checkpoint(config.backbone)
    one = reading_facts(config.backbone, checkpoint)
    assert reading_facts(config.backbone, replace(checkpoint, fingerprint="f" * 64)) == one
