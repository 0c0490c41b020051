"""What runs ask of the store, and which of it the jobs of a sweep can have collected together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.looks import branch_budget, check_looks, full_pruning, looks_of
from vovnet.outcomes.store import OutcomeStore, Table
from vovnet.outcomes.tables import Tables
from vovnet.schema import RunConfig
from vovnet.vlm.files import Checkpoint


@dataclass(frozen=True)
class Asked:
    """Some looks of a configuration, and what is read beside their answers.

    Attributes:
        looks: whose answers are read; ``config`` says what they mean.
        with_text: also the text pass.
        with_nll: also the references' NLL after each look.
        states: looks of which a policy reads what the prefill yields.
        any_price: also where COARSE costs as much as FULL.
    """

    config: RunConfig
    looks: tuple[Action, ...]
    with_text: bool = True
    with_nll: bool = False
    states: Collection[Action] = ()
    any_price: bool = False

    def tables(self, checkpoint: Checkpoint, dataset: VQADataset) -> Tables:
        """Those that hold it, whether they exist or not."""
        keys = table_keys(self.config, checkpoint, dataset, looks_of(self.config, self.looks))
        read = {action.label for action in self.states}
        return Tables.of(OutcomeStore(self.config.paths.store), keys, dataset, self.with_text, self.with_nll, read)

    def check(self, checkpoint: Checkpoint) -> None:
        """Refuse looks that the model cannot take.

        Raises:
            VoVNetError: as ``check_looks``.
        """
        check_looks(self.config, checkpoint, self.looks, self.any_price)


@dataclass(frozen=True)
class Together:
    """Looks that one pass over the questions can take, and the tables that it fills, by a collector's names."""

    looks: tuple[Action, ...]
    tables: Mapping[str, Table]


def together(own: Asked, others: Sequence[Asked], checkpoint: Checkpoint, dataset: VQADataset) -> Together:
    """What a job asks, and what others ask of the same questions under the same backbone and decoding.

    The others' FULL may be pruned: to the model that is one more look. What cannot be taken in the same pass, or is
    refused, is left to its own job.
    """
    looks, tables = list(own.looks), dict(own.tables(checkpoint, dataset).collected)
    for asked in others:
        try:
            asked.check(checkpoint)
            names = {action: _seen_from(own.config, asked.config, action) for action in asked.looks}
            if branch_budget(asked.config) != branch_budget(own.config) or None in names.values():
                continue  # another budget is another way of preparing images
            collected = asked.tables(checkpoint, dataset).collected
        except VoVNetError:
            continue  # its own job says so
        found = {_renamed(name, names): table for name, table in collected.items()}
        if all(tables.get(name, table).folder == table.folder for name, table in found.items()):
            tables |= found
            looks += [action for action in names.values() if action is not None and action not in looks]
    return Together(tuple(looks), tables)


def _seen_from(own: RunConfig, other: RunConfig, action: Action) -> Action | None:
    """The look that shows what another configuration's ``action`` does; None where there is none."""
    pruning = full_pruning(other)
    if action != Action.FULL or pruning == full_pruning(own):
        return action
    # Sampling draws by the number of a look, which is another one for a look of one's own.
    return None if pruning is None or own.eval.do_sample else Action.of(pruning=pruning)


def _renamed(name: str, looks: Mapping[Action, Action | None]) -> str:
    """The name of a table of a look, such as ``full nll``, after the look that takes its place."""
    label, _, beside = name.partition(" ")
    renamed = {action.label: one.label for action, one in looks.items() if one is not None}
    return " ".join([renamed.get(label, label), *([beside] if beside else [])])
