"""Imported by the fork server alone: does once what every command would do again.

Each command is then a fork that begins within milliseconds. Nothing here may start a thread: a process that has
some must not be forked. So no gradient is computed, and torch has one thread. Nor may anything use CUDA or ask it
how many devices there are: a fork could then not use it.
"""

import importlib
import os
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asks the driver's own library instead

MODULES = (
    "experiments.train", "experiments.eval", "experiments.pipeline", "experiments.report", "vovnet.policy.trained",
    "vovnet.report.frontier", "vovnet.report.report", "vovnet.report.table", "vovnet.results.sweep",
    "vovnet.stages", "vovnet.training.report", "vovnet.training.stages", "peft.tuners.lora",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl", "transformers.models.qwen3_vl.modeling_qwen3_vl",
    "tests.commands",
)  # fmt: skip


def warm_up() -> None:
    """Import everything, compose once, run a branch once, draw once."""
    for name in MODULES:
        importlib.import_module(name)
    import matplotlib.pyplot as plt

    from experiments.collect import run
    from tests.conftest import compose_config, settle_garbage
    from vovnet.report.style import save

    with tempfile.TemporaryDirectory() as folder:
        run(
            compose_config("backbone.device=cpu", "eval.max_samples=2", f"paths.runs={folder}", root="collect"),
            Path(folder) / "run",
        )
        figure, axis = plt.subplots()
        axis.set(title="a", xlabel="b")
        save(figure, Path(folder) / "figure")
    settle_garbage()  # a fork that goes through them would copy their pages


warm_up()
