"""What a command needs, looked at before it runs: all problems at once, in seconds, without loading a model.

Nothing is generated, downloaded or written, and no model is loaded, unless the time of a first batch is asked for.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vovnet.actions import Action
from vovnet.compose import register_resolvers, to_typed
from vovnet.data import VQADataset, load_dataset, of_part
from vovnet.data.hub import hub_is_off
from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra
from vovnet.needs import Finding, free_bytes, quick_problems
from vovnet.options import conf_dir
from vovnet.outcomes.load import load_outcomes, missing_rows
from vovnet.policy.find import find_policy
from vovnet.policy.protocol import TEXT
from vovnet.results.setting import make_policy
from vovnet.schema import DatasetConfig, PolicyTraining, RunConfig, Stage
from vovnet.session import Session
from vovnet.sweep_batch import Batch
from vovnet.terminal import clock, counted
from vovnet.vlm.budget import max_tokens
from vovnet.vlm.facts import token_bytes
from vovnet.vlm.files import Checkpoint, find_checkpoint

T = TypeVar("T")
LEARNS = ("train", "calibrate")  # commands that read the training split
READS_POLICY = ("eval", "error_slices", "profile", "calibrate")
STAMP = "generated.json"  # of a set that was generated
PROMPT = 256  # tokens of a prompt without image, for the estimate of memory
MB, GB = 2**20, 2**30


@dataclass
class _Composed:
    """Stands for a command: Hydra hands its jobs over, and none runs."""

    configs: list[RunConfig] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)

    def __call__(self, composed: DictConfig) -> None:
        """A single job."""
        self._add(lambda: to_typed(composed))

    def sweep(self, batch: Batch) -> None:
        """The jobs of a sweep."""
        for job in batch.jobs:
            with batch.composed(job) as composition:
                self._add(composition.typed)

    def _add(self, typed: Callable[[], RunConfig]) -> None:
        try:
            self.configs.append(typed())
        except VoVNetError as error:
            self.refused.append(Finding("configuration", str(error), problem=True))


def preflight(
    command: str, overrides: Sequence[str], session: Session | None = None, timed: bool = False
) -> list[Finding]:
    """What the jobs of a command need and whether it is there; equal findings of several jobs are one.

    Args:
        timed: also load the model and run two batches, where nothing is missing, for an estimate of the time.

    Raises:
        VoVNetError: the overrides do not compose.
    """
    session = session or Session()
    composed = _compose(command, overrides)
    found = list(composed.refused)
    for config in composed.configs:
        if config.pipeline is not None and command == "pipeline":
            found += _stages(config.pipeline.stages, overrides, session, timed)
        else:
            looked = list(examine(command, config, session))
            found += looked
            if timed and not any(finding.problem for finding in looked):
                found += _time(command, config, session)
    return list(dict.fromkeys(found))


def _compose(command: str, overrides: Sequence[str]) -> _Composed:
    given = [text for text in overrides if text not in ("-m", "--multirun") and not text.startswith("launcher")]
    composed = _Composed()
    register_resolvers()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            if "-m" in overrides or "--multirun" in overrides or hydra.get_mode(command, given) == RunMode.MULTIRUN:
                hydra.multirun(command, composed, given, with_log_configuration=False)
            else:
                composed(hydra.compose_config(command, given, run_mode=RunMode.RUN))
    except (HydraException, OmegaConfBaseException) as error:
        raise VoVNetError(explain_hydra(error)) from error
    return composed


def _stages(stages: Sequence[Stage], overrides: Sequence[str], session: Session, timed: bool) -> Iterator[Finding]:
    """Of the stages of a pipeline; their policies are trained by the stages before."""
    passed_on = [o for o in overrides if o.lstrip("+~").partition("=")[0] not in ("experiment", "name")]
    for stage in stages:
        if stage.entry == "report":
            continue
        own = [
            *(o.replace("{folder}", "multirun") for o in stage.overrides),
            *passed_on,
            *(["-m"] if stage.sweep else []),
        ]
        for finding in preflight(stage.entry, own, session, timed):
            if finding.need != "policy":
                yield finding


def examine(command: str, config: RunConfig, session: Session) -> Iterator[Finding]:
    """What one job needs."""
    yield from quick_problems(config)
    checkpoint, lacking = _looked("weights", lambda: find_checkpoint(config.backbone, True, session))
    if lacking and config.backbone.path is None and not config.backbone.packaged and not hub_is_off():
        lacking = [Finding("weights", f"{config.backbone.name} is downloaded from the hub on first use.")]
    yield from lacking
    split = "train" if command in LEARNS else config.eval.split
    absent = list(_absent(config.dataset, split, session))
    yield from absent
    yield from _devices(config)
    if checkpoint is None:
        return
    if command in READS_POLICY and not config.policy.baseline.name and config.eval.ddp_checkpoint_path is None:
        path, lacking = _looked("policy", lambda: find_policy(config, checkpoint, session))
        yield from lacking or [Finding("policy", str(path))]
    yield _memory(config, checkpoint)
    if not absent:
        data = load_dataset(config.dataset, split, only_local=True, session=session)
        yield from _work(command, config, checkpoint, data, session)


def _looked(need: str, look: Callable[[], T]) -> tuple[T | None, list[Finding]]:
    """What is there, or the sentence about what is missing."""
    try:
        return look(), []
    except VoVNetError as error:
        return None, [Finding(need, str(error), problem=True)]


def _absent(config: DatasetConfig, split: str, session: Session) -> Iterator[Finding]:
    """The sets of a split that are not on this machine; what the command itself fetches is no problem."""
    if config.parts:
        for name, part in config.parts.items():
            for finding in _absent(part, split, session):
                yield replace(finding, said=str(of_part(name, finding.said))) if finding.problem else finding
        return
    _, lacking = _looked("data", lambda: load_dataset(config, split, only_local=True, session=session))
    if lacking and config.generate is not None and config.path is not None:
        if not (Path(config.path).expanduser() / STAMP).exists():
            lacking = [Finding("data", f"{config.name} is generated on first use.")]
    elif lacking and config.hub is not None and config.path is None and not hub_is_off():
        lacking = [Finding("data", f"{config.name} is downloaded from the hub ({config.hub.id}) on first use.")]
    yield from lacking


def _devices(config: RunConfig) -> Iterator[Finding]:
    """Whether the devices exist; asks torch only where a GPU is named."""
    if not config.backbone.device.startswith("cuda"):
        return
    from vovnet.vlm.device import pick_device

    yield from _looked("devices", lambda: pick_device(config.backbone.device))[1]


def _memory(config: RunConfig, checkpoint: Checkpoint) -> Finding:
    """An estimate: weights as they are stored, and keys, values and activations of one batch of FULL prompts."""
    sizes = checkpoint.text_config
    weights = sum(path.stat().st_size for path in checkpoint.folder.glob("*.safetensors"))
    values = 2 if config.backbone.dtype in ("bfloat16", "float16") else 4
    tokens = max_tokens(config.vision_budget, checkpoint) + PROMPT
    batch = config.eval.batch_size * tokens * token_bytes(sizes, values)
    return Finding(
        "memory",
        f"about {(weights + batch) / GB:.1f} GB (estimate: weights {weights / GB:.1f} GB, and a batch of "
        f"{config.eval.batch_size} FULL prompts of {tokens} tokens {batch / GB:.1f} GB).",
    )


def _work(
    command: str, config: RunConfig, checkpoint: Checkpoint, data: VQADataset, session: Session
) -> Iterator[Finding]:
    """How many branches are to be run, and what the store needs for them."""
    count, looks, with_text = _asked(command, config, data, session)
    rows = missing_rows(config, checkpoint, data, looks, count, with_text)
    if not sum(rows.values()):
        yield Finding("branches", f"{data.name}/{data.split}: {counted(count, 'question')}, all stored; no model runs.")
        return
    said = ", ".join(f"{number} {name}" for name, number in rows.items())
    yield Finding("branches", f"{data.name}/{data.split}: {counted(count, 'question')}, to run: {said}.")
    width = int(checkpoint.text_config.get("hidden_size") or 0)
    bytes_needed = rows.get("text", 0) * width * 4 + sum(rows.values()) * 128
    free = free_bytes(config)
    said = f"about {bytes_needed / MB:.0f} MB for the outcome store (estimate), {free / GB:.1f} GB are free."
    yield Finding("disk", said, problem=free < bytes_needed)


def _asked(command: str, config: RunConfig, data: VQADataset, session: Session) -> tuple[int, tuple[Action, ...], bool]:
    """How many questions, which looks at them, and whether the text pass is read."""
    most = config.eval.max_samples
    if command in LEARNS:
        most = config.training.max_samples if isinstance(config.training, PolicyTraining) else None
    count = min(len(data), most or len(data))
    if config.policy.baseline.name and command not in LEARNS:
        policy = make_policy(config, session)
        return count, policy.looks, TEXT in policy.needs
    return count, config.menu, True


def _time(command: str, config: RunConfig, session: Session) -> Iterator[Finding]:
    """How long the missing branches take, by the second of two batches in a store that is thrown away."""
    checkpoint = find_checkpoint(config.backbone, True, session)
    data = load_dataset(config.dataset, "train" if command in LEARNS else config.eval.split, True, session)
    count, looks, with_text = _asked(command, config, data, session)
    missing = max(missing_rows(config, checkpoint, data, looks, count, with_text).values(), default=0)
    size = config.eval.batch_size
    if missing < 2 * size:
        return

    def measured() -> float:
        with TemporaryDirectory() as folder:
            own = replace(config, paths=replace(config.paths, store=folder), eval=replace(config.eval, chunk_rows=size))
            load_outcomes(own, checkpoint, data, looks, size, with_text, session)
            begun = time.monotonic()
            load_outcomes(own, checkpoint, data, looks, 2 * size, with_text, session)
            return time.monotonic() - begun

    what = repr([config.backbone, config.vision_budget, config.dataset, size, looks, with_text])
    seconds = session.once("first batch", what, measured, keep=16)
    said = f"about {clock(seconds * missing / size)} for the missing branches of {counted(missing, 'question')}"
    yield Finding("time", f"{data.name}/{data.split}: {said} (a batch of {size} took {seconds:.2g} s).")
