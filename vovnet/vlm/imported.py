"""A backbone that is outcomes without a model: rows that another engine has made (``vovnet.outcomes.imports``).

Its folder holds a config.json that says which rows there are, and no weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.fingerprint import digest
from vovnet.schema import VisionBudgetConfig, resolution_of
from vovnet.vlm.sizes import inside

IMPORTED = "imported"  # its model type
FOLDER = "imported"  # of all such backbones, in the outcome store
IDENTITY = ("name", "engine", "max_vision_tokens")  # entries of config.json that never change
IMPORT = "python -m experiments.store store.import_from=FOLDER backbone=imported backbone.name=NAME"


@dataclass(frozen=True)
class ImportedBudget:
    """What an image costs where the rows say it; sizes are those that the configuration names, for people to look at.

    Attributes:
        max_tokens: of a maximal FULL image, as it was given or found when the first rows were imported.
    """

    config: VisionBudgetConfig
    max_tokens: int

    def target_size(self, width: int, height: int, action: Action) -> tuple[int, int]:
        """(width, height) within the configured bounds."""
        return inside(width, height, self.config.full, resolution_of(action, self.config.coarse, self.config.full), 1)

    def tokens(self, width: int, height: int, action: Action) -> int:
        """Only the rows know.

        Raises:
            VoVNetError: always.
        """
        raise VoVNetError("imported rows say what their questions cost, and nothing of other images; choose a model.")

    def check(self, look: Action) -> None:
        """Any look may have been imported."""


def open_imported(folder: Path, config: dict[str, Any]) -> str:
    """The fingerprint of an imported backbone: the rows of one name are bound to it, see ``vovnet.outcomes.imports``.

    Raises:
        VoVNetError: its config.json is damaged.
    """
    kinds = {"name": str, "engine": str, "max_vision_tokens": int, "rows": dict}
    if wrong := [name for name, kind in kinds.items() if not isinstance(config.get(name), kind)]:
        raise VoVNetError(
            f"{folder}/config.json does not say {wrong[0]}; remove {folder} and import the rows again ({IMPORT})."
        )
    return digest([IMPORTED, *(config[name] for name in IDENTITY)])


def no_rows(folder: Path) -> VoVNetError:
    """What to say where nothing was imported under a name."""
    known = sorted(path.parent.name for path in folder.parent.glob("*/config.json"))
    there = f"there are {', '.join(known)}" if known else "there are none"
    return VoVNetError(
        f"no rows were imported as backbone.name={folder.name} ({there} in {folder.parent}); set backbone.name to one "
        f"of them, or import rows: {IMPORT}."
    )


def no_model(name: str, engine: str) -> VoVNetError:
    """What to say where a forward pass is asked for."""
    return VoVNetError(
        f"backbone.name={name} is rows that {engine} has made, without a model that could answer or be trained; set "
        "eval.mode=replay and leave training.stage1_epochs, stage2_backbone and live alone, or choose another backbone."
    )
