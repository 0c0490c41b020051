"""What the package never does: unpickle, run what it was given, or write a secret down."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT, typed
from tests.conftest import compose_config
from vovnet.arguments import refuse_secrets
from vovnet.errors import VoVNetError
from vovnet.report.page.build import page

REFUSED = """eval exec compile __import__ os.system os.popen pickle.load pickle.loads yaml.load marshal.loads
joblib.load torch.hub.load""".split()
HTML = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
SOURCES = sorted(path for folder in ("vovnet", "experiments") for path in (ROOT / folder).rglob("*.py"))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Dotted name and node of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def given(node: ast.Call, name: str) -> object:
    return next((ast.unparse(k.value) for k in node.keywords if k.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_could_run_code_is_called(path: Path) -> None:
    for name, node in calls(path):
        last = name.rpartition(".")[2]
        assert name not in REFUSED
        assert given(node, "shell") in (None, "False")
        assert given(node, "trust_remote_code") in (None, "False")
        if name == "torch.load":
            assert given(node, "weights_only") == "True"
        if name in ("np.load", "numpy.load"):
            assert given(node, "allow_pickle") in (None, "False")
        if last == "from_pretrained" and "AutoModel" in name:
            assert given(node, "use_safetensors") == "True"
            assert given(node, "trust_remote_code") == "False"


# Where files are opened by themselves, and why that is safe.
OPENED = {
    "results/write.py": "a policy file, whose card was read",
    "report/page/build.py": "files of the package",
    "data/prepare.py": "writes",
    "outcomes/transfer.py": "writes",
    "vlm/device.py": "/proc of this process",
    "outcomes/parts.py": "parts, which are listed where they are files",
}


@pytest.mark.parametrize("folder", "data vlm outcomes policy results checks analyses report".split())
def test_files_are_opened_by_what_refuses_pipes(folder: str) -> None:
    paths = list((ROOT / "vovnet" / folder).rglob("*.py"))
    assert paths
    for path in paths:
        opening = [name for name, _ in calls(path) if re.search(r"^open$|\.(open|read_text|read_bytes)$", name)]
        place = str(path.relative_to(ROOT / "vovnet"))
        assert set(opening) <= {"Image.open"} or place in OPENED, (place, opening)


@pytest.mark.parametrize(
    "text",
    [
        "+logger.api_key=abc",
        "+wandb_api_key=abc",
        "hub.token=abc",
        'launcher.setup=["export WANDB_API_KEY=abc"]',
        "launcher.setup=['HF_TOKEN=abc python']",
        "+launcher.additional_parameters.export=PASSWORD=abc",
        "name=${oc.env:HF_TOKEN}",
        "name=hf_" + "a" * 34,
        "name=ghp_" + "a" * 36,
        "name=github_pat_" + "a" * 30,
        "name=glpat-" + "a" * 30,
        "name=AKIA" + "ABCDEFGH" * 2,
        "name=xoxb-" + "a" * 30,
        "dataset.path=https://user:" + "a" * 30 + "@host/x",
        "name='Authorization: Bearer " + "a" * 30 + "'",
        "PRIVATE_KEY=abc",
        "WANDB_KEY=abc",
        "+env.PASSPHRASE=abc",
        "dataset.path=https://u:held-in-the-environment@host/x",
    ],
)
def test_secrets_are_refused_and_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "held-in-the-environment")
    with pytest.raises(VoVNetError, match=r"holds a secret .* set it in the environment") as caught:
        refuse_secrets([text])
    for secret in ("abc", "a" * 30, "held-in"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["eval.max_new_tokens=3", "image_token_id=5", "name=tokens", "dataset.prompt_template='Key: {question}'"]
)
def test_tokens_of_language_are_no_secrets(text: str) -> None:
    refuse_secrets([text])


def test_a_secret_in_a_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    with pytest.raises(VoVNetError, match="WANDB_API_KEY"):
        compose_config("name=run-0123456789abcdef")


def test_nothing_is_written_of_a_refused_command(tmp_path: Path) -> None:
    done = typed("eval", f"paths.runs={tmp_path}/runs", "+logger.api_key=a-secret-value")
    assert done.returncode == 1
    assert "a-secret-value" not in done.stdout + done.stderr
    loading, _ = done.stderr.splitlines()
    assert loading == "eval: loading Hydra and the configuration"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "&lt;"])
def test_no_text_leaves_its_place_in_the_page(text: str) -> None:
    html = page({"facts": {text: text}, "studies": [{"name": text, "samples": {"question": [text]}}]})
    assert html.count("</script>") == page({}).count("</script>")
    assert "<img src=x" not in html
    assert html.count("<!--") == page({}).count("<!--")


def test_the_pages_scripts_never_parse_text_as_html() -> None:
    for path in (ROOT / "vovnet/report/page").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not [
            word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(") if word in text
        ]
