"""Policies trained on outcomes, and what they reach: rows, frontiers, tables."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.actions import FIXED_POLICIES
from vovnet.api.outcomes import VLM, with_options
from vovnet.compose import compose_typed, job_name, rebuilt
from vovnet.errors import VoVNetError
from vovnet.outcomes.known import Outcomes
from vovnet.outcomes.units import split_name
from vovnet.policy import FILE_NAME
from vovnet.policy.checkpoint import open_policy
from vovnet.policy.protocol import Policy, checked
from vovnet.policy.trained import Outside, Trained, policy_of
from vovnet.policy.vovnet import ValueHead, VoVNet
from vovnet.registry import POLICIES, path_of, source_hash
from vovnet.results.columns import ResultRow, record, table_columns
from vovnet.results.evaluate import Evaluation, measure, write_evaluation
from vovnet.results.read import read_predictions as read_lines
from vovnet.results.read import read_results as read_rows
from vovnet.results.setting import make_policy
from vovnet.results.write import RESULTS
from vovnet.schema import PolicyConfig
from vovnet.schema.code import Code
from vovnet.schema.policy import PolicyOptions
from vovnet.vlm.files import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    import pandas as pd

LAMBDAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Frontier:
    """Accuracy against cost: a policy at several lambdas, and fixed policies."""

    rows: tuple[ResultRow, ...]

    def to_pandas(self) -> "pd.DataFrame":
        """One line per point, the columns of results.csv."""
        return frame(self.rows)

    def plot(self, path: str | Path) -> Path:
        """Draw it into a PNG or PDF file."""
        from vovnet.report.sweep_figure import plot_frontier

        plot_frontier(list(self.rows), Path(path))
        return Path(path)


def train_policy(
    outcomes: Outcomes,
    *,
    lambda_cost: float = 0.05,
    objective: str = "value",
    procedure: str = "one_step",
    action_space: str | None = None,
    looks: Sequence[Any] | None = None,
    folder: str | Path | None = None,
    **options: Any,
) -> VoVNet:
    """Train a policy head on the outcomes of a training split; one that was trained with the same inputs is read.

    Args:
        lambda_cost: accuracy that one maximal FULL image is worth; the objective ``value`` serves every lambda.
        procedure: ``sequential`` may look again by what COARSE has yielded.
        action_space: ``ternary``, ``ladder``, or ``binary`` for a model whose COARSE costs as much as FULL; None: the
            outcomes'.
        looks: a menu of your own, cheapest first, as in ``["no", {"long_side": 32}, "full"]``; looks that the store
            lacks are collected.
        folder: of the policy file and curves; None names one under the results' folder.
        options: other values for keys under ``training``, such as ``epochs`` or ``seed``.
    """
    from vovnet.training.run import train

    base = outcomes.config
    goal = compose_typed("train", [f"policy/objective={objective}"]).policy.objective
    menu: dict[str, Any] = {}
    if looks is not None or action_space is not None:
        menu = {"looks": looks, "action_space": action_space or "ternary"}
    config = rebuilt(
        base,
        policy=with_options(
            base.policy, {"lambda_cost": lambda_cost, "objective": goal, "procedure": procedure, **menu}
        ),
        training=with_options(base.training, {"max_samples": len(outcomes), **options}),
    )
    place = Path(folder or Path(base.paths.runs) / "train" / job_name(config)).expanduser()
    train(config, place, outcomes.session)
    return _policy_file(place / FILE_NAME, outcomes.checkpoint, lambda_cost)


def load_policy(path: str | Path, vlm: VLM, *, lambda_cost: float = 0.05) -> VoVNet:
    """A trained policy from its file, or from the folder that holds it.

    Raises:
        VoVNetError: missing, damaged, or of another model.
    """
    place = Path(path).expanduser()
    return _policy_file(place / FILE_NAME if place.is_dir() else place, find_checkpoint(vlm.config), lambda_cost)


def _policy_file(path: Path, checkpoint: Checkpoint, lambda_cost: float) -> VoVNet:
    return policy_of(ValueHead.of(open_policy(path, checkpoint)), lambda_cost)


def evaluate(
    policy: Policy | str, outcomes: Outcomes, *, folder: str | Path | None = None, **options: Any
) -> Evaluation:
    """What a policy or a named baseline does with stored outcomes, on average and per question.

    Args:
        policy: one of ``train_policy``, one of your own, or the name of a baseline (``conf/policy/baseline``).
        folder: where results.csv, summary.json and predictions.jsonl go; None writes nothing.
        options: of a baseline, such as ``threshold=0.3``.

    Raises:
        VoVNetError: among others, a question was in the policy's training data.
    """
    begun, base = time.monotonic(), outcomes.config
    if isinstance(policy, str):
        named = compose_typed("eval", [f"policy/baseline={policy}"]).policy.baseline
        config = replace(base, policy=replace(base.policy, baseline=with_options(named, options)))
        policy = make_policy(config, outcomes.session)
    else:
        config = replace(base, policy=_described(checked(policy), base.policy))
    found = measure(config, policy, Path(folder or base.paths.runs).expanduser(), outcomes.session)
    if folder is not None:
        write_evaluation(config, policy, found, Path(folder).expanduser(), begun, outcomes.session)
    return found


def _described(policy: Policy, base: PolicyConfig) -> PolicyConfig:
    """The configuration that says what a policy is."""
    if isinstance(policy, VoVNet):
        card = policy.head.card
        own: dict[str, Any] = {name: getattr(card, name) for name in ("feature_mode", "action_space", "procedure")}
        own["looks"] = [look.content for look in card.menu] if card.space != card.action_space else None
        own["full_pruning_ratio"] = card.full_pruning_ratio
        if card.cost_unit != "tokens":  # it has learned costs in this unit
            own["cost_unit"], own["latency_device"] = split_name(card.cost_unit)
        if card.full_pruning_mode is not None:
            own["full_pruning_mode"] = card.full_pruning_mode
        return with_options(base, {"lambda_cost": policy.lambda_cost, "baseline": Trained(""), **own})  # type: ignore[no-any-return]
    options: PolicyOptions = policy
    if not hasattr(policy, "__pydantic_config__"):  # of the user's own code
        kind = type(policy)
        if policy.name in POLICIES:
            raise VoVNetError(f"{policy.name!r} is a policy of VoVNet; give {path_of(kind)} another name.")
        options = Outside(policy.name, Code("policy", path_of(kind), dict(policy.columns()), source_hash(kind)))
    return replace(base, baseline=options)


def frontier(
    policy: VoVNet, outcomes: Outcomes, *, lambdas: Iterable[float] = LAMBDAS, baselines: Iterable[str] | None = None
) -> Frontier:
    """A trained policy at several lambdas, and baselines, on stored outcomes.

    Args:
        baselines: their names; None takes the fixed policies of the trained one's looks.

    Raises:
        VoVNetError: the policy knows no lambda.
    """
    if not isinstance(policy, VoVNet):
        raise VoVNetError(
            f"frontier takes a trained policy, not {policy!r}; call evaluate for each setting of any other."
        )
    if baselines is None:
        baselines = [name for name, action in FIXED_POLICIES.items() if action in policy.looks]
    points = [evaluate(VoVNet(policy.head, price), outcomes).row for price in lambdas]
    return Frontier((*points, *(evaluate(name, outcomes).row for name in baselines)))


def read_results(folder: str | Path) -> "pd.DataFrame":
    """The results.csv of a run, sweep or pipeline as a pandas table, older versions' files included.

    Raises:
        VoVNetError: the file is missing or damaged.
    """
    place = Path(folder).expanduser()
    return frame(read_rows(place / RESULTS if place.is_dir() else place))


def read_predictions(folder: str | Path) -> "pd.DataFrame":
    """What a run, or the job of a sweep, did with each question: question, references, action, answer, score, cost.

    Raises:
        VoVNetError: a file is missing or damaged.
    """
    import pandas as pd

    return pd.DataFrame(read_lines(Path(folder).expanduser()))


def frame(rows: Sequence[ResultRow]) -> "pd.DataFrame":
    """Rows of results.csv as a pandas table."""
    import pandas as pd

    return pd.DataFrame([record(row) for row in rows], columns=table_columns(rows))
