"""Adversarial answers to multiple-choice questions, and what the public evaluators read in them.

``cases/mmbench_evaluators.txt`` holds the letters that lmms-eval's static mode and VLMEvalKit's exact matching read in
``answers()``: "-" where neither a letter nor an option can be read, "Z" for VLMEvalKit's own letter of a refusal. It is
written from checkouts of both (lmms-eval 75571cfe, VLMEvalKit e8e78f05), of which nothing is copied here:

    python -m tests.scoring.adversarial LMMS-EVAL VLMEVALKIT
"""

import hashlib
import importlib.util
import random
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = Path(__file__).parent / "cases" / "mmbench_evaluators.txt"
COUNT = 20_000

OPTIONS = (
    ("yes", "no"), ("a cat", "a dog", "a bird"), ("1", "10", "100", "0.1"), ("red", "green", "blue", "dark blue"),
    ("A man", "B side", "C major", "None of the above"), ("The cat sleeps", "The cat", "A dog runs fast", "banana"),
    ("Cannot be determined", "left", "right", "above"), ("猫", "狗", "鸟", "鱼"), ("İstanbul", "Ankara", "İzmir"),
    ("it is hot", "answer", "option", "It"),
)  # fmt: skip
FRAMES = (
    "{}", "{}.", "({})", "[{}]", "**{}**", '"{}"', "'{}'", "{}:", "{})", "<{}>", "{{{}}}", "\\boxed{{{}}}",
    "$\\boxed{{{}}}$", "`{}`", "*{}*", "_{}_", "#{}", "{},", "{};", "{}!", "{}?", "({}).", ":{}", "- {}", "{} ",
    "\n{}\n", "\\text{{{}}}",
)  # fmt: skip
SENTENCES = (
    "The answer is {}", "the correct answer is {}", "Answer: {}", "answer:{}", "My answer is {} because of {}",
    "I choose {}", "Option {}", "The best option is {}", "The choice is {} and not {}", "Between {} and {}, {}",
    "{} is wrong, {} is right", "A picture shows {}, so {}", "It is {} I think", "{} or {}", "Not {}",
    "I pick {} over {}", "正确答案是{}", "选{}", "정답은 {}", "答えは{}",
    "So the answer is {}. Therefore {} cannot be it",
    "The correct answer is {}. Here is why: the image shows it", "The answer is\n{}", "{}: {}", "{} {} {} {}",
    "Final answer {}", "I select {}; I choose {}", "best answer is not {} but {}", "the answer is clear, {}",
    "Correct Choice is {}", "THE ANSWER IS {}", "looking at it, {} fits best of all of them here", "A {} sat here",
    "As an AI, I say {}", "could be {} in this picture of many things that I see", "{} Z", "Z", "Z {}",
)  # fmt: skip
WHOLE = (
    "", " ", ".", "I cannot see the image.", "I'm sorry, but without the image provided I cannot tell.", "Unknown",
    "None", "Sorry, I can't help with images of people yet.", "I can't process this file.",
    "Cannot determine the answer", "Failed to obtain answer via API", "Failed to obtain answer via API B", "nan",
    "A B C D", "ABCD", "(A)(B)", "abc", "Cannot determine the answer: no B", "All of them",
    "İİİ the answer is B or C", "E", "(E)", "F", "answer is", "option is D",
)  # fmt: skip
CHARACTERS = "ABCDEZabcd .,:;!?()[]{}*#'\"\n-İ選答"


def answers(count: int = COUNT, seed: int = 20_260_801) -> list[tuple[tuple[str, ...], str]]:
    """Pairs of options and an answer; the same for a seed on every platform."""
    rng = random.Random(seed)

    def pick(things: Sequence[Any]) -> Any:
        return things[int(rng.random() * len(things))]  # `choice` may draw otherwise in another version of Python

    def named(options: Sequence[str]) -> str:
        kind = rng.random()
        what = "ABCDEF"[int(rng.random() * (len(options) + 0.4))] if kind < 0.7 else pick(options)
        what = what.lower() if kind > 0.95 else what
        return str(pick(FRAMES)).format(what) if rng.random() < 0.6 else what

    def answer(options: Sequence[str]) -> str:
        kind = rng.random()
        if kind < 0.06:
            return str(pick(WHOLE))
        if kind < 0.12:
            return "".join(pick(CHARACTERS) for _ in range(int(rng.random() * 24)))
        parts = []
        for _ in range(1 + int(rng.random() ** 3 * 3)):
            frame = str(pick(SENTENCES)) if rng.random() < 0.65 else "{}"
            parts.append(frame.format(*(named(options) for _ in range(4))) + str(pick((".", "", "", "!", "\n"))))
        text = list(str(pick((" ", "\n", ""))).join(parts))
        while text and rng.random() < 0.3:  # a slip of the pen
            place = int(rng.random() * len(text))
            text[place : place + int(rng.random() * 2)] = [pick(CHARACTERS)] if rng.random() < 0.6 else []
        return "".join(text)

    return [(options, answer(options)) for options in (pick(OPTIONS) for _ in range(count))]


def digest(pairs: Sequence[tuple[tuple[str, ...], str]]) -> str:
    """What tells whether the same answers were drawn again."""
    return hashlib.sha256(repr(list(pairs)).encode()).hexdigest()[:16]


def recorded() -> tuple[str, dict[str, str]]:
    """The digest of the answers that were read, and each evaluator's letters in their order."""
    drawn, *blocks = FILE.read_text(encoding="utf-8").split("\n\n")
    named = (block.split("\n", 1) for block in blocks)
    return drawn, {name: letters.replace("\n", "") for name, letters in named}


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _stand_in(name: str, **content: Any) -> None:
    """A module that an evaluator imports for its log lines or its requests to a judge."""
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules.setdefault(name, module)


def evaluators(lmms_eval: Path, vlmevalkit: Path) -> dict[str, Callable[[str, dict[str, str]], str]]:
    """The readers in checkouts of both evaluators."""
    import logging

    log = logging.getLogger("evaluators")
    _stand_in("loguru", logger=log)
    _stand_in("requests")
    for package in ("vlmeval", "vlmeval.smp"):
        _stand_in(package)
    _stand_in("vlmeval.smp.log", get_logger=lambda name: log)
    tasks = lmms_eval / "lmms_eval/tasks"
    evaluator = _module("mmbench_evals", tasks / "mmbench/mmbench_evals.py").MMBench_Evaluator()
    extract = _module("mcq_extract", tasks / "_task_utils/mcq_extract.py").extract_mcq_answer
    matching = _module("matching_util", vlmevalkit / "vlmeval/utils/matching_util.py")
    return {
        "lmms_eval": lambda text, choices: (
            evaluator.can_infer(text.strip(), dict(choices)) or extract(text.strip(), choices=sorted(choices)) or "-"
        ),
        "vlmevalkit": lambda text, choices: matching.can_infer(text, dict(choices)) or "-",
    }


def main() -> None:
    """Write ``FILE``."""
    pairs = answers()
    blocks = [digest(pairs)]
    for name, read in evaluators(Path(sys.argv[1]), Path(sys.argv[2])).items():
        letters = "".join(read(text, dict(zip("ABCD", options, strict=False))) for options, text in pairs)
        blocks.append("\n".join([name, *textwrap.wrap(letters, 120, break_on_hyphens=False)]))
    FILE.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
