"""What the package never does: unpickle, run what it was given, or write a secret down."""

import ast
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import vovnet
from tests.commands import ROOT, command
from tests.conftest import compose_config
from vovnet.errors import VoVNetError
from vovnet.jobs import failure
from vovnet.report.page.build import page
from vovnet.secrets import redacted, refuse_secrets
from vovnet.terminal import say

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
    "results/read.py": "unpacks what is open",
    "report/publish.py": "files that this command wrote",
    "results/existing.py": "a policy file, whose card was read",
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


ALPHANUMERIC = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def drawn(length: int, of: str = ALPHANUMERIC) -> str:
    """What looks like a key and is none, the same in every run."""
    draw = Random(length)
    return "".join(draw.choice(of) for _ in range(length))


KEYS = [  # by the form alone, under any name
    "hf_" + "a" * 34, "hf_" + drawn(34, string.ascii_letters), "sk-" + drawn(48), "sk-ant-api03-" + drawn(93),
    "AIza" + drawn(35, ALPHANUMERIC + "-_"), "AKIA" + "ABCDEFGH" * 2, "ghp_" + "a" * 36, "github_pat_" + "a" * 30,
    "glpat-" + "a" * 20, "xoxb-" + "1" * 12 + "-" + drawn(24), "sk_" + "live_" + drawn(24), "nvapi-" + drawn(64),
    "SG." + drawn(22) + "." + drawn(43), "npm_" + drawn(36), "gsk_" + drawn(52), "r8_" + drawn(37),
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + drawn(43), "123456789:" + drawn(35), drawn(32, HEX) + "-us12",
    "AC" + drawn(32, HEX), "pypi-AgEIcHlwaS5vcmc" + drawn(80), "-----BEGIN RSA " + "PRIVATE KEY-----", drawn(40),
    drawn(43, ALPHANUMERIC + "-_"),
]  # fmt: skip
URLS = [
    "https://user:pw@host/x", "https://:pw@host", "s3://key:pw@bucket", "postgresql://u:p%40@host/db",
    "https://u:p@ss@host/", f"https://{drawn(24)}@host/x", "https://host/x?token=abc", "https://host/?a=1&api_key=abc",
    "https://host/x?sv=1&sig=abcd%2Fefg123", "https://host/x?X-Amz-Signature=abcdef0123",
    "https://hooks.slack.com/services/T00000000/B00000000/" + drawn(24),
]  # fmt: skip
LINES = [  # of a shell
    "export WANDB_API_KEY=abc", "HF_TOKEN=abc python", "export A=1 B_TOKEN=abc", "setenv HF_TOKEN abc",
    "set -gx HF_TOKEN abc", "export OPENAI_KEY=abc", "export PGPASSWORD=abc", "export DB_PWD='letmein'",
    f"wandb login {drawn(40, HEX)}", f"wandb login --relogin {drawn(40, HEX)}", "hf auth login --token abc",
    "docker login -u me -p hunter2", "sshpass -p hunter2 ssh x", "mysql -phunter2", "curl -u me:hunter2 https://x",
    "curl -H 'Authorization: Bearer abcdefghijklmnopqr'", "curl -H 'X-Api-Key: abc'",
    "aws configure set aws_secret_access_key abc", f"echo {drawn(40, HEX)} | wandb login",
    "echo 'machine x login user password hunter2' >> ~/.netrc", "git clone https://me:pw@host/x",
]  # fmt: skip
NAMES = [
    "logger.api_key", "wandb_api_key", "hub.token", "PRIVATE_KEY", "WANDB_KEY", "env.PASSPHRASE", "apiKey",
    "accessToken", "launcher.additional_parameters.export=PASSWORD", "MYSQL_PASS", "MY_PAT", "AZURE_OPENAI_KEY",
    *(f"hydra.job.env_set.{name}" for name in ("OPENAI_KEY", "PGPASSWORD", "DB_PWD")),
]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        *(f"name={key}" for key in KEYS),
        *(f"dataset.path={url}" for url in URLS),
        *(f'launcher.setup=["{line}"]' for line in LINES),
        *(f"+{name}=hunter2" for name in NAMES),
        "name=${oc.env:HF_TOKEN}",
        "name=held-in-the-environment",
    ],
)
def test_secrets_are_refused_and_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PWD", "held-in-the-environment")
    with pytest.raises(VoVNetError, match=r"holds a secret .* set it in the environment") as caught:
        refuse_secrets([text])
    for secret in ("abc", "hunter2", "letmein", "held-in", "a" * 20, *(key for key in KEYS if len(key) > 20)):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "eval.max_new_tokens=3", "image_token_id=5", "name=tokens", "dataset.prompt_template='Key: {question}'",
        f"backbone.revision={drawn(40, HEX)}", f"name=sha256:{drawn(64, HEX)}", "sort_key=answer",
        "name=550e8400-e29b-41d4-a716-446655440000", "backbone.path=Qwen/Qwen2.5-VL-7B-Instruct-AWQ",
        "backbone.path=/models/Llama4Scout17B16EInstruct", "backbone.path=OpenGVLab/InternVL3_5-8B-HF",
        f"backbone.path=~/hub/models--Qwen--Qwen3-VL-2B-Instruct/snapshots/{drawn(40, HEX)}",
        "name=Qwen3VLForConditionalGeneration", "name=lr1e-4_bs8_seed42_fold3", "name=20261130T202910Z-run",
        "paths.runs=/tmp/pytest-of-root/pytest-0/test_x0/runs", "paths.runs=/tmp/tmp.Xk3Pq9ZtLm/x",
        "dataset.path=ssh://git@host/x", "backbone.base_url=http://127.0.0.1:8000/v1", "name=APBenchmark10abc",
        "launcher.setup=['module load cuda/12.4','source ~/.venv/bin/activate','set -euo pipefail']",
        "launcher.setup=['export HF_TOKEN=$(cat ~/.hf)','export WANDB_API_KEY=$MY_KEY','cd $PWD','OLDPWD=/x']",
        "launcher.setup=['export GOOGLE_APPLICATION_CREDENTIALS=/home/me/key.json','mkdir -p /scratch/x']",
    ],
)  # fmt: skip
def test_paths_hashes_and_names_of_models_are_no_secrets(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "question")  # a plain word, which may stand anywhere
    refuse_secrets([text])
    assert redacted(text) == text


def test_no_composition_of_ours_is_taken_for_a_secret_or_waits_for_the_detector() -> None:
    code = """
import sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from vovnet.compose import refuse_secrets_in, register_resolvers
from vovnet.options import commands, conf_dir
register_resolvers()
with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    for command in commands():
        composed = compose(command, [], return_hydra_config=True)
        refuse_secrets_in(OmegaConf.to_container(composed, resolve=False))
assert "detect_secrets" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_secret_in_a_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    with pytest.raises(VoVNetError, match="WANDB_API_KEY"):
        compose_config("name=run-0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key api_key=a is unknown, as a banana is", "the key api_key=*** is unknown, as a banana is"),
        ("password=x, exit", "password=***, exit"),
        ("set backbone.token=VALUE", "set backbone.token=VALUE"),
        ("token=one-sk-abcdefghijklmnopqrstuvwx two", "token=*** two"),
    ],
)
def test_a_secret_is_cut_where_it_is_and_nowhere_else(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_secrets_are_redacted_in_what_is_printed_and_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "held-in-the-environment")
    text = f"401 for https://me:hunter2@host/x?token=abcdef with held-in-the-environment, {KEYS[1]} and {KEYS[12]}"
    say(text)
    assert capsys.readouterr().out == "401 for https://me:***@host/x?token=*** with ***, *** and ***\n"
    assert failure(RuntimeError(text))["error"].count("***") == 5


OPTION = "defaults: [easy_vqa]\npassword: hunter2hunter2\n"
SETTING = "# @package _global_\nhydra: {job: {env_set: {OPENAI_KEY: hunter2hunter2}}}\n"


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("eval", ["+logger.api_key=hunter2hunter2"]),
        ("eval", ["+hydra.job.env_set.DB_PWD=hunter2hunter2"]),
        ("eval", ["-m", "dataset=mini,mine"]),
        ("pipeline", ["dataset=mine"]),
        ("eval", ["+experiment=keyed", "hydra.run.dir=x", "hydra.output_subdir=y"]),
        ("eval", ["-m", "+experiment=keyed", "policy.lambda_cost=0,1"]),
        ("eval", ["+experiment=keyed", "--cfg=all"]),
    ],
    ids=" ".join,
)
def test_nothing_is_written_of_a_refused_command(entry: str, arguments: list[str], tmp_path: Path) -> None:
    for place, content in (("dataset/mine", OPTION), ("experiment/keyed", SETTING)):
        file = tmp_path / f"conf/{place}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(content)
    (here := tmp_path / "here").mkdir()
    done = command(entry, "--config-dir", str(tmp_path / "conf"), f"paths.runs={here}/runs", *arguments, cwd=here)
    assert "hunter2" not in done.stdout + done.stderr
    assert list(here.iterdir()) == []
    if "--cfg=all" in arguments:
        assert "OPENAI_KEY: ***" in done.stdout
    else:
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


def test_python_programs_are_refused_by_an_error(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/keyed.yaml").write_text(SETTING)
    with pytest.raises(VoVNetError, match=r"env_set\.OPENAI_KEY"):
        vovnet.run("eval", ["+experiment=keyed", f"paths.runs={tmp_path}/runs"], config_dir=tmp_path)
    assert not (tmp_path / "runs").exists()


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
