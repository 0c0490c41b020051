"""Chat templates: found wherever transformers has kept them, rendered within limits, refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer, ProcessorMixin

from vovnet.errors import VoVNetError
from vovnet.vlm.chat_template import chat_frame, find_template

PARTS = "{% for m in messages %}{% for p in m.content %}<u>{{ p.text }}</u>{% endfor %}{% endfor %}<a>"
PLAIN = (
    "{% for m in messages %}{{ '<u>' + m['content'] + '</u>' }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


@pytest.fixture
def folder(qwen3: Path, tmp_path: Path) -> Path:
    """A checkpoint whose template was removed."""
    place = Path(shutil.copytree(qwen3, tmp_path / "copy"))
    (place / "chat_template.jinja").unlink()
    return place


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def entry(name: str, value: object) -> Callable[[Path], None]:
    """A ``chat_template`` entry of a JSON file."""

    def write(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        put(folder, name, json.dumps(content | {"chat_template": value}))

    return write


def file(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: put(folder, name, text)


NAMED = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
PLACES = {
    "chat_template.jinja": ([file("chat_template.jinja", "D")], "D"),
    "beside others in a folder": (
        [file("chat_template.jinja", "D"), file("additional_chat_templates/rag.jinja", "R")],
        "D",
    ),
    "chat_template.json": ([entry("chat_template.json", "D")], "D"),
    "the processor's configuration": ([entry("processor_config.json", "D")], "D"),
    "the processor's, by name": ([entry("processor_config.json", {"default": "D", "rag": "R"})], "D"),
    "the tokenizer's configuration": ([entry("tokenizer_config.json", "D")], "D"),
    "the tokenizer's, by name": ([entry("tokenizer_config.json", NAMED)], "D"),
    "processor before tokenizer": ([entry("chat_template.json", "D"), entry("tokenizer_config.json", "T")], "D"),
    "old file before new": ([entry("chat_template.json", "D"), file("chat_template.jinja", "J")], "D"),
    "configuration before file": ([entry("processor_config.json", "D"), entry("chat_template.json", "J")], "D"),
}


@pytest.mark.parametrize(("writes", "template"), PLACES.values(), ids=PLACES.keys())
def test_a_template_is_found_where_autoprocessor_finds_it(
    folder: Path, writes: list[Callable[[Path], None]], template: str
) -> None:
    for write in writes:
        write(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert find_template(folder, tokenizer)[1] == template
    own = ProcessorMixin.get_processor_dict(str(folder))[0].get("chat_template") or tokenizer.chat_template
    assert (own if isinstance(own, str) else own["default"]) == template


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda folder: None, r"has no chat template .* or set backbone\.chat_template=none"),
        (file("chat_template.jinja", ""), "has no chat template"),
        (file("chat_template.json", "{"), r"chat_template\.json cannot be read"),
        (file("processor_config.json", "[" * 10**5), r"processor_config\.json cannot be read"),
        (entry("chat_template.json", {"rag": "R", "tool_use": "T"}), r"\(rag, tool_use\) have no default"),
        (entry("processor_config.json", [1]), "is no text"),
    ],
)
def test_a_checkpoint_without_a_usable_template_is_refused(
    folder: Path, write: Callable[[Path], None], sentence: str
) -> None:
    write(folder)
    with pytest.raises(VoVNetError, match=sentence):
        find_template(folder, AutoTokenizer.from_pretrained(folder))


def rendered(template: str, **special_tokens: str) -> tuple[str, str]:
    stub = SimpleNamespace(chat_template=template, special_tokens_map=special_tokens)
    frame = chat_frame(Path("somewhere"), stub)
    return frame.head, frame.tail


def test_a_frame_is_what_transformers_renders_around_the_text(qwen3: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen3)
    frame = chat_frame(qwen3, tokenizer)
    message = [{"role": "user", "content": [{"type": "text", "text": "why?"}]}]
    whole = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert frame.head + "why?" + frame.tail == whole
    assert not frame.remarks


TEXTS = {
    "plain strings only": PLAIN,
    "parts as JSON": "{% for m in messages %}<u>{% if m.content is string %}{{ m.content }}{% else %}"
    "{{ m.content | tojson }}{% endif %}</u>{% endfor %}<a>",
    "strings, parts passed over": "{% for m in messages %}<u>{% if m.content is string %}{{ m.content }}{% endif %}"
    "</u>{% endfor %}<a>",
    "special tokens": "{{ bos_token }}{{ messages[0].content[0].text | trim }}</u><a>",
}


@pytest.mark.parametrize("template", TEXTS.values(), ids=TEXTS.keys())
def test_templates_of_parts_and_of_plain_strings_render_alike(template: str) -> None:
    assert rendered(template, bos_token="<u>") == ("<u>", "</u><a>")


FAILURES = {
    "its own error": ("{{ raise_exception('roles\nmust alternate') }}", r"cannot be rendered \(roles must alternate\)"),
    "endless, in one operation": ("{{ 7 ** (7 ** 13) }}" + PARTS, "takes more than 5 seconds"),
    "more than the memory": ("{{ 'x' * 10 ** 11 }}" + PARTS, r"cannot be rendered \(MemoryError\)"),
    "a long text": ("{{ 'x' * 10 ** 6 }}" + PARTS, r"it renders 1,000,\d+ characters"),
    "a long template": ("x" * 10**6, "has 1,000,000 characters; at most 200,000 are read"),
    "nested too deeply": ("{{ " + "(" * 20_000 + ")" * 20_000 + " }}", "cannot be rendered"),
    "the text twice": (PARTS + PARTS, "shows the user's text 2 times"),
    "JSON": ("{{ messages | tojson }}", "leaves out or changes the user's text"),
    "text in capitals": (PARTS.replace(".text", ".text | upper"), "leaves out or changes the user's text"),
    "text that is escaped": (PARTS.replace(".text", ".text | e"), "leaves out or changes the user's text"),
    "text that is cut": (PARTS.replace(".text", ".text[:3]"), "leaves out or changes the user's text"),
    "a text that is none": ("{{ '\\ud800' }}" + PARTS, "cannot be rendered"),
}


@pytest.mark.parametrize(("template", "sentence"), FAILURES.values(), ids=FAILURES.keys())
def test_a_template_that_fails_is_one_sentence(template: str, sentence: str) -> None:
    with pytest.raises(VoVNetError, match=sentence) as caught:
        rendered(template)
    assert str(caught.value).startswith("the chat template of somewhere ")
    assert "\n" not in str(caught.value)


def test_two_templates_that_differ_are_reported(folder: Path) -> None:
    entry("chat_template.json", PARTS)(folder)
    entry("tokenizer_config.json", "{{ messages[0].content[0].text }}")(folder)
    frame = chat_frame(folder, AutoTokenizer.from_pretrained(folder))
    assert (frame.head, frame.tail) == ("<u>", "</u><a>")
    assert ["that of chat_template.json is used" in remark for remark in frame.remarks] == [True]
