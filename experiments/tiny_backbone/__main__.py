"""Train the packaged tiny backbone from random weights: 8 minutes on one H200, about three hours on two CPU cores.

python -m experiments.tiny_backbone
python -m experiments.tiny_backbone recipe.num_workers=14 paths.data=/scratch/data

``recipe.KEY=VALUE`` changes a key of recipe.yaml; other arguments are overrides of ``experiments.train``.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.tiny_backbone.recipe import Recipe, load_recipe
from vovnet.compose import compose_typed
from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig

OURS = "recipe."
# Four times the images of the default, of which these begin with; the test images are the same.
IMAGES = {"mini_mmbench": 24_000, "mini_mmmu": 24_000, "mini_textvqa": 28_000}
FOLDER = "tiny_backbone"  # under paths.runs


def configured(arguments: Sequence[str]) -> tuple[RunConfig, Recipe]:
    """The configuration and the recipe that the command line asks for.

    Raises:
        VoVNetError: one sentence naming the key.
    """
    data = ["backbone=tiny", "dataset=embedded"]
    for name, images in IMAGES.items():
        part = f"dataset.parts.{name}"
        data += [f"{part}.path=${{paths.data}}/large/{name}", f"{part}.generate.train_images={images}"]
    own = [argument.removeprefix(OURS) for argument in arguments if argument.startswith(OURS)]
    others = [argument for argument in arguments if not argument.startswith(OURS)]
    return compose_typed("train", [*data, *others]), load_recipe(own)


def main(arguments: Sequence[str]) -> None:
    """Train into ``multirun/tiny_backbone``; a run that was stopped goes on from its last saved step."""
    from experiments.tiny_backbone.train import train_tiny_backbone

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config, recipe = configured(arguments)
    print(f"outputs: {train_tiny_backbone(config, recipe, Path(config.paths.runs) / FOLDER)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except VoVNetError as error:
        sys.exit(f"error: {error}")
