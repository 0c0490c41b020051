"""A middle layer that is made to know the answer's word before a later one looks up its letter.

A choice about an image takes two steps: see what was asked for, then find the option that says so. With a loss on
the letter alone neither pays before the other is there, and a small model stays at guessing. Supervising a middle
layer (Lee et al. 2015, "Deeply-supervised nets") makes the first step pay by itself. The loss exists in training only.
"""

from typing import Any

import torch
from torch import Tensor, nn

from experiments.tiny_backbone.recipe import WordLoss
from vovnet.actions import Action
from vovnet.data import Sample
from vovnet.vlm.qwen.model import Backbone


def answer_word(sample: Sample, action: Action) -> str | None:
    """Text of the right option where an image had to be looked at for it, else None."""
    if action is Action.NO or not sample.options or sample.supercategory == "text":
        return None
    text = sample.options[ord(sample.answers[0]) - ord("A")]
    return None if "<image" in text else text


class WordHead:
    """Cross-entropy of the right option's first token, read off a middle layer by the model's own output matrix.

    Args:
        layer: after how many layers of the language model to read.
    """

    def __init__(self, backbone: Backbone, recipe: WordLoss) -> None:
        self.backbone = backbone
        self.state: Tensor | None = None
        backbone.model.model.language_model.layers[recipe.layer - 1].register_forward_hook(self._keep)

    def loss(self, words: tuple[int | None, ...], answer_length: int) -> Tensor:
        """Mean over the rows that have a word, nats; 0 where none has.

        Args:
            words: token id for each row of the batch that the backbone has just read.
            answer_length: tokens of the batch's longest reference, the last prompt token's distance from the end.
        """
        state, self.state = self.state, None
        rows = [row for row, word in enumerate(words) if word is not None]
        if state is None:
            raise RuntimeError("the backbone has read nothing since the last word loss")
        if not rows:
            return state.new_zeros(())
        hidden = self.backbone.model.model.language_model.norm(state[:, -answer_length][rows])
        logits = self.backbone.model.lm_head(hidden).float()
        return nn.functional.cross_entropy(logits, torch.tensor([words[r] for r in rows], device=logits.device))

    def _keep(self, layer: Any, inputs: Any, output: Any) -> None:
        self.state = output[0] if isinstance(output, tuple) else output
