"""A policy's values of stored text passes lie in the store: whoever asks again loads no head and no torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Configure
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.inspect import prune, summarise
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.rows import TextOutcomes
from vovnet.outcomes.store import Table
from vovnet.policy.card import make_card
from vovnet.policy.checkpoint import PolicyFile, load_policy, open_policy, save_policy
from vovnet.policy.features import feature_width, features
from vovnet.policy.head import PolicyHead
from vovnet.policy.vovnet import ValueHead
from vovnet.report.table import print_store
from vovnet.vlm.files import find_checkpoint


def text_of(configure: Configure, count: int = 20) -> TextOutcomes:
    config = configure()
    dataset = load_dataset(config.dataset, "test")
    return load_outcomes(config, find_checkpoint(config.backbone), dataset, (), count).outcomes.text


def write_policy(configure: Configure, path: Path, seed: int = 0) -> PolicyFile:
    """A head with random weights for the configured backbone."""
    config = configure()
    checkpoint = find_checkpoint(config.backbone)
    width = feature_width(config.policy.feature_mode, int(checkpoint.text_config["hidden_size"]))
    torch.manual_seed(seed)
    head = PolicyHead(width, config.policy.hidden_size, 3, bounded=True)
    torch.nn.init.normal_(head.output.weight)
    save_policy(path, head, make_card(config, checkpoint, width))
    return open_policy(path, checkpoint)


def computed(policy: PolicyFile, text: TextOutcomes) -> np.ndarray:
    return computed_by(ValueHead.of(policy), text)


def computed_by(head: ValueHead, text: TextOutcomes) -> np.ndarray:
    return head.head()(torch.from_numpy(features(text, head.card.feature_mode))).double().numpy()


def stored(policy: PolicyFile) -> ValueHead:
    """A head whose values must come from the store."""
    return ValueHead(lambda: pytest.fail("the head was loaded"), policy.card, policy.path, policy.digest)


def parts(configure: Configure) -> list[Path]:
    return sorted(Path(configure().paths.store).glob("text-*/values-*/*.arrow"))


@pytest.fixture
def policy(configure: Configure, tmp_path: Path) -> PolicyFile:
    return write_policy(configure, tmp_path / "policy.safetensors")


def test_stored_values_are_the_computed_ones_to_the_bit(configure: Configure, policy: PolicyFile) -> None:
    first = ValueHead.of(policy).values(text_of(configure))
    assert np.array_equal(first, computed(policy, text_of(configure)))
    again = stored(policy).values(text_of(configure))
    assert (again.dtype, again.shape) == (np.float64, (20, 3))
    assert np.array_equal(again, first)
    assert not again.flags.writeable


def test_live_batches_share_one_head(configure: Configure, policy: PolicyFile) -> None:
    head, text = ValueHead.of(policy), text_of(configure)
    batches = [text.take(np.arange(start, start + 10)) for start in (0, 10)]  # as of a text pass, from no store
    first, made = head.values(batches[0]), head.head()
    assert np.allclose([*first, *head.values(batches[1])], computed_by(head, text))
    assert head.head() is made
    assert parts(configure) == []


def test_other_weights_other_questions_and_replaced_rows_have_values_of_their_own(
    configure: Configure, policy: PolicyFile, tmp_path: Path
) -> None:
    ValueHead.of(policy).values(text_of(configure))
    other = write_policy(configure, tmp_path / "other.safetensors", seed=1)
    assert np.array_equal(ValueHead.of(other).values(text_of(configure)), computed(other, text_of(configure)))
    assert np.array_equal(ValueHead.of(policy).values(text_of(configure, 12)), computed(policy, text_of(configure, 12)))
    assert len(parts(configure)) == 3
    (part,) = Path(configure().paths.store).glob("text-*/*.arrow")
    part.unlink()
    text_of(configure, 12)  # parts are cut in another way now
    assert np.array_equal(ValueHead.of(policy).values(text_of(configure)), computed(policy, text_of(configure)))
    assert len(parts(configure)) == 4


def test_damaged_values_are_set_aside_and_made_anew(
    configure: Configure, policy: PolicyFile, caplog: pytest.LogCaptureFixture
) -> None:
    first = ValueHead.of(policy).values(text_of(configure))
    (part,) = parts(configure)
    part.write_bytes(part.read_bytes()[:-9])
    assert np.array_equal(ValueHead.of(policy).values(text_of(configure)), first)
    assert "is damaged" in caplog.text
    assert np.array_equal(stored(policy).values(text_of(configure)), first)


def test_a_store_that_cannot_be_written_costs_no_result(
    configure: Configure, policy: PolicyFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text = text_of(configure)

    def refuse(*_: object) -> None:
        raise VoVNetError("the outcome store cannot write")

    monkeypatch.setattr(Table, "write", refuse)
    assert np.array_equal(ValueHead.of(policy).values(text), computed(policy, text))
    assert "the policy's values are not kept: the outcome store cannot write" in caplog.text


def test_values_that_are_not_finite_are_refused_and_not_kept(configure: Configure, policy: PolicyFile) -> None:
    head = policy.head()
    head.output.bias.fill_(torch.nan)
    with pytest.raises(VoVNetError, match="values of question 0 of the split"):
        ValueHead(head.eval, policy.card, policy.path, policy.digest).values(text_of(configure))
    assert parts(configure) == []


def test_they_are_listed_and_pruned_with_the_text_pass_or_alone(
    configure: Configure, policy: PolicyFile, capsys: pytest.CaptureFixture[str]
) -> None:
    ValueHead.of(policy).values(text_of(configure))
    store = Path(configure().paths.store)
    text, values = summarise(store)
    assert (values.branch, values.rows) == ("values", 20)
    assert values.id.startswith(f"{text.id}/values-")
    print_store([text, values])
    assert f"values of the policy file with SHA-256 {policy.digest[:12]}" in " ".join(capsys.readouterr().out.split())
    assert prune(store, "values-", confirm=True) == [values]
    ValueHead.of(policy).values(text_of(configure))
    assert len(prune(store, "text-", confirm=True)) == 2
    assert summarise(store) == []


def test_a_damaged_file_is_refused_when_it_is_opened_and_a_sound_one_read_once(
    configure: Configure, policy: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, content = find_checkpoint(configure().backbone), policy.path.read_bytes()
    policy.path.write_bytes(content[:-4] + b"\0\0\0\1")
    with pytest.raises(VoVNetError, match="its checksum is wrong"):
        open_policy(policy.path, checkpoint)
    policy.path.write_bytes(content)
    monkeypatch.setattr(PolicyFile, "head", lambda _: pytest.fail("the head was loaded"))
    found = open_policy(policy.path, checkpoint)
    assert (found.card, found.digest) == (policy.card, policy.digest)
    with pytest.raises(pytest.fail.Exception):
        load_policy(policy.path, checkpoint)


def test_a_warm_evaluation_imports_no_torch(configure: Configure, policy: PolicyFile, tmp_path: Path) -> None:
    config = configure()
    ours = [
        f"dataset.path={config.dataset.path}", f"backbone.path={config.backbone.path}", "eval.max_new_tokens=3",
        f"paths.runs={config.paths.runs}", f"eval.checkpoint={policy.path}", "eval.max_samples=20",
    ]  # fmt: skip
    program = (
        "import sys, vovnet; from pathlib import Path; from vovnet.compose import compose_typed; "
        "from vovnet.results.evaluate import evaluate; "
        f"evaluate(compose_typed('eval', {ours!r}), Path({str(tmp_path / 'run')!r})); print('torch' in sys.modules)"
    )
    for warm in (False, True):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == str(not warm)
