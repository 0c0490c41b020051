#!/usr/bin/env bash
# Math-Verify takes "1 1/2" for 1, "3e5" for 3, "1.2 million" for 1.2 and "2020-2021" for -1 outside LaTeX.
#
# Versions: math-verify 0.9.0, sympy 1.14.0, antlr4-python3-runtime 4.13.2.
# Behaviour: parse() looks for LaTeX first and then for a plain expression. What the plain pattern matches is read and the
#   rest of the text is dropped, without a sign that something is left over. The same number in LaTeX is read right.
# Why it surprises: verify() then says True for an answer that is plainly wrong ("1" for "1 1/2"), where one expects either
#   the number or nothing. A range of years is a difference.
# Whom it hurts: multimodal mathematics (MathVista, MathVision, MathVerse) is often scored with it, and models asked for
#   short answers write plain text. The error has a direction: the whole part alone earns the point.
# Output seen (gold answer, answer that verify() accepts, the right value):
#   1 1/2: accepts 1 True, accepts 1.5 False
#   3e5: accepts 3 True, accepts 300000 False
#   1.2 million: accepts 1.2 True, accepts 1200000 False
#   2020-2021: accepts -1 True
#   $1\frac{1}{2}$: accepts 1 False, accepts 1.5 True
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q 'math-verify[antlr4_13_2]==0.9.0' sympy==1.14.0 2>/dev/null
said=$("$place/venv/bin/python" -W ignore - <<'PY'
from math_verify import parse, verify

CASES = {
    "1 1/2": ("1", "1.5"),
    "3e5": ("3", "300000"),
    "1.2 million": ("1.2", "1200000"),
    "2020-2021": ("-1",),
    r"$1\frac{1}{2}$": ("1", "1.5"),
}
for gold, answers in CASES.items():
    print(f"{gold}: " + ", ".join(f"accepts {answer} {verify(parse(gold), parse(answer))}" for answer in answers))
PY
)
echo "$said"
[ "$said" = '1 1/2: accepts 1 True, accepts 1.5 False
3e5: accepts 3 True, accepts 300000 False
1.2 million: accepts 1.2 True, accepts 1200000 False
2020-2021: accepts -1 True
$1\frac{1}{2}$: accepts 1 False, accepts 1.5 True' ]
