"""The packaged backbone's parts at tiny scale: every part leaves its figures, and a wrong answer is seen."""

from pathlib import Path

import pytest

from tests.conftest import compose_config
from tests.performance.__main__ import Options, run, show
from tests.performance.embedded import collection, live
from tests.performance.measure import Measurement
from tests.performance.phases import CHECK
from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig
from vovnet.vlm.qwen.model import Backbone

OPTIONS = Options(only=("collection", "live", "pruning"), rounds=1, tiny=True)


@pytest.fixture
def config(easy_data: Path) -> RunConfig:
    return compose_config("eval.max_new_tokens=2", f"dataset.path={easy_data}")


def test_every_part_stands_beside_its_target(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [one for one in run(config, OPTIONS, tmp_path) if isinstance(one, Measurement)]
    show(found, tmp_path)
    printed = capsys.readouterr().out
    named = {one.name: one for one in found}
    assert named["collection against bare forward passes"].target == 1.1
    assert named["NO against a text-only generate, batch 1"].target == 1.05
    assert named["FULL against generate, batch 2"].target == 1.05
    assert sum("time per token against whole images" in name for name in named) == 3
    assert all(name in printed for name in named)
    assert all(one.value == 0 for one in found if one.name.startswith(CHECK))


def test_other_answers_than_the_bare_loops_fail_the_check(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    look = Backbone.look

    def shifted(self: Backbone, batch, action, text, images=None):  # type: ignore[no-untyped-def]
        """Continue the cache of other questions."""
        rolled = text if text is None or len(batch) < 2 else text.rows([*range(1, len(batch)), 0])
        return look(self, batch, action, rolled, images)

    monkeypatch.setattr(Backbone, "look", shifted)
    found = [*collection(config, 1, tiny=True), *live(config, 1, tiny=True)]
    broken = {one.name for one in found if one.name.startswith(CHECK) and not one.passed}
    assert f"{CHECK}bare answers that the store does not hold" in broken
    assert f"{CHECK}answers unlike generate's, full, batch 2" in broken
    with pytest.raises(VoVNetError, match="count for nothing"):
        show(found, tmp_path)
