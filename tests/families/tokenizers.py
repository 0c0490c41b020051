"""One made-up byte-level BPE, dressed with each family's special tokens, and chat templates in the families' forms."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = (
    "What color is the shape in the image? Is there a red circle? blue green yellow black gray brown teal triangle "
    "rectangle yes no Answer with one word. user assistant system You are a helpful assistant. How many are there?"
).split(" ")
WORDS = 340  # vocabulary before special tokens


@dataclass(frozen=True)
class Prompt:
    """Special tokens and chat template of a family."""

    eos: str
    pad: str
    template: str
    bos: str | None = None
    adds_bos: bool = False  # the tokenizer puts it before every text, as Llama's and Gemma's do
    named: dict[str, str] = field(default_factory=dict)  # tokens that the processor asks the tokenizer for by name
    others: tuple[str, ...] = ()  # further special tokens
    stops: tuple[str, ...] = ()  # what ends an answer beside `eos`: in generation_config.json only


@cache
def base_vocabulary() -> str:
    """The shared byte-level BPE as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator([" " + word for word in TEXTS] + TEXTS, trainer)
    return str(tokenizer.to_str())


def make_tokenizer(prompt: Prompt) -> Any:
    """The shared vocabulary with this family's special tokens, post-processor and chat template."""
    tokenizer = Tokenizer.from_str(base_vocabulary())
    special = dict.fromkeys(
        [*filter(None, [prompt.bos, prompt.pad, prompt.eos]), *prompt.named.values(), *prompt.others, *prompt.stops]
    )
    tokenizer.add_special_tokens(list(special))
    if prompt.adds_bos and prompt.bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{prompt.bos} $A",
            pair=f"{prompt.bos} $A $B",
            special_tokens=[(prompt.bos, tokenizer.token_to_id(prompt.bos))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=prompt.bos,
        eos_token=prompt.eos,
        pad_token=prompt.pad,
        extra_special_tokens=dict(prompt.named),
        chat_template=prompt.template,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def chat(
    opening: str,
    closing: str,
    reply: str,
    image: str,
    *,
    head: str = "",
    system: str = "",
    images_first: bool = False,
    strings: bool = True,
) -> str:
    """A chat template.

    Args:
        opening: what precedes a message, with `{role}` for its role
        closing: what follows a message
        reply: what starts the answer
        image: what a part of type image becomes
        head: what starts the conversation, in Jinja
        system: what comes first where the conversation has no system message, as in Qwen2-VL
        images_first: whether all images of a message come before its words, as in LLaVA
        strings: whether a message's content may be a string; SmolVLM's template drops it without a word
    """
    words = "{% if p.type == 'text' %}{{ p.text }}{% endif %}"
    pictures = "{% if p.type == 'image' %}" + image + "{% endif %}"
    if images_first:
        parts = f"{{% for p in m.content %}}{pictures}{{% endfor %}}{{% for p in m.content %}}{words}{{% endfor %}}"
    else:
        parts = f"{{% for p in m.content %}}{pictures}{words}{{% endfor %}}"
    content = f"{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}{parts}{{% endif %}}" if strings else parts
    default = "{% if messages[0].role != 'system' %}" + system + "{% endif %}" if system else ""
    return (
        f"{head}{default}{{% for m in messages %}}{opening.replace('{role}', '{{ m.role }}')}{content}{closing}"
        "{% endfor %}"
        f"{{% if add_generation_prompt %}}{reply}{{% endif %}}"
    )


def chatml(image: str, **keys: Any) -> str:
    """The form of Qwen and many others."""
    keys = {"reply": "<|im_start|>assistant\n", **keys}
    return chat("<|im_start|>{role}\n", "<|im_end|>\n", image=image, **keys)


CHATML = {"eos": "<|im_end|>", "pad": "<|endoftext|>", "others": ("<|im_start|>",)}
