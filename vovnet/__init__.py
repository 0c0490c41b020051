"""The value of vision: decide, question by question, how closely a vision-language model looks at an image.

    out = vovnet.collect(vovnet.load_vlm("tiny"), vovnet.load_dataset("easy_vqa"), max_samples=600)
    curve = vovnet.frontier(vovnet.train_policy(out.train), out.test, lambdas=[0, 0.05, 0.1])

Importing this package imports none of its parts: each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vovnet.actions import Action
    from vovnet.api.commands import Finished, run
    from vovnet.api.explanation import Explanation, LookReport
    from vovnet.api.outcomes import VLM, Collection, Dataset, collect, import_outcomes, load_dataset, load_vlm
    from vovnet.api.policies import (
        Frontier,
        evaluate,
        frontier,
        load_policy,
        read_predictions,
        read_results,
        train_policy,
    )
    from vovnet.api.router import Reply, Router
    from vovnet.data.sample import ImageRef, Sample
    from vovnet.errors import VoVNetError
    from vovnet.outcomes.known import Outcomes
    from vovnet.policy.objective import Objective
    from vovnet.policy.protocol import Context, Policy, Question, Seen, Step, View
    from vovnet.registry import register
    from vovnet.session import Session

    __version__: str

_PLACES = {
    "vovnet.actions": "Action",
    "vovnet.api.commands": "Finished run",
    "vovnet.api.explanation": "Explanation LookReport",
    "vovnet.api.outcomes": "VLM Collection Dataset collect import_outcomes load_dataset load_vlm",
    "vovnet.api.policies": "Frontier evaluate frontier load_policy read_predictions read_results train_policy",
    "vovnet.api.router": "Reply Router",
    "vovnet.data.sample": "ImageRef Sample",
    "vovnet.errors": "VoVNetError",
    "vovnet.outcomes.known": "Outcomes",
    "vovnet.policy.objective": "Objective",
    "vovnet.policy.protocol": "Context Policy Question Seen Step View",
    "vovnet.registry": "register",
    "vovnet.session": "Session",
}
_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = [
    "VLM",
    "Action",
    "Collection",
    "Context",
    "Dataset",
    "Explanation",
    "Finished",
    "Frontier",
    "ImageRef",
    "LookReport",
    "Objective",
    "Outcomes",
    "Policy",
    "Question",
    "Reply",
    "Router",
    "Sample",
    "Seen",
    "Session",
    "Step",
    "View",
    "VoVNetError",
    "__version__",
    "collect",
    "evaluate",
    "frontier",
    "import_outcomes",
    "load_dataset",
    "load_policy",
    "load_vlm",
    "read_predictions",
    "read_results",
    "register",
    "run",
    "train_policy",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("vovnet")
    if (module := _PLACE_OF.get(name)) is None:
        raise AttributeError(f"module 'vovnet' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
