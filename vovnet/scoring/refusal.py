"""Answers that decline to answer, mostly because no image is seen.

MMBench's evaluators read "I cannot see the image." as the option "no", whose letters it contains. The benchmark's score
keeps their rule; refusals are counted beside it, and a policy does not learn that they are right.
"""

import re

_PICTURE = r"(?:images?|pictures?|photos?|photographs?|figures?|screenshots?|attachments?)"
_A_PICTURE = rf"(?:(?:an?|any|the|your|this|that|these|those) )?(?:[\w-]+ )?{_PICTURE}"
_GIVEN = r"(?:provided|attached|available|visible|included)"
_CONTENT = "(?:the |any |this )?(?:visual )?content"
_SHOWN = "to|for|here|provided|attached|shown|present|available|visible|included"
_UNABLE = r"i (?:cannot|could not|am unable to|am not able to)"
_SEE = r"(?:see|view|access|open|load|look at|read|process|analy[sz]e|interpret|perceive|display)"

# Of texts in lower case whose contractions are written out.
_REFUSALS = re.compile(
    "|".join(
        (
            rf"\b{_UNABLE} (?:\w+ ){{0,2}}?{_SEE}(?: or {_SEE})? (?:{_A_PICTURE}|{_CONTENT}|it|anything)\b",
            rf"\b{_UNABLE} (?:\w+ )?(?:answer|help|assist|determine|tell)\b",
            rf"\bi do not (?:see|have|have access to) {_A_PICTURE}\b",
            r"\bsorry\b\W{0,3}(?:but )?i (?:cannot|could not|do not|am unable|am not able)\b",
            rf"\bno {_PICTURE} (?:is|was|were|has|have|provided|attached|given)\b",
            rf"\b{_PICTURE} (?:(?:is|was|has|were|have) )?not (?:been )?{_GIVEN}\b",
            rf"\b{_PICTURE} (?:is|was|are|were) missing\b",
            rf"\bwithout (?:seeing |access to |viewing |being able to see )?(?:an?|any|the) {_PICTURE}\b",
            rf"\bthere (?:is|are|was|were) no (?:visible |actual )?{_PICTURE}(?:$|[.,;!]| (?:{_SHOWN})\b)",
            rf"^no (?:visible|accessible|available) {_PICTURE}\b(?! of)",
            r"^nothing (?:is|was) (?:shown|visible|provided|attached)\b",
            r"\bi (?:do not have|have no|lack) (?:the |any )?(?:ability|capabilit\w+|access|visual|vision|way|means)\b",
            rf"\byou (?:have not|did not) (?:provide|attach|upload|share|include|sen[dt])(?:d|ed)? {_A_PICTURE}\b",
            rf"\b(?:please|could you|can you) (?:provide|upload|attach|share|send) {_A_PICTURE}\b",
            r"^(?:i am )?(?:unable|not able) to (?:determine|answer|tell|see|view|identify)\b",
            r"\b(?:as|i am) an? (?:ai|text-based|text-only|(?:large )?language model)\b",
            r"(?:无法|不能|没法)(?:直接)?(?:看到|查看|看见|访问|识别|处理|回答|确定)",
            r"没有(?:看到|提供|上传)?(?:任何)?(?:图片|图像|照片)",
        )
    )
)
# A hedge that an answer follows is no refusal: "I cannot see the image, but the answer is probably red."
_ANSWERS = re.compile(
    r"\b(?:guess|probably|likely|assum\w+|i (?:would|will) (?:say|choose|pick|go with))\b"
    r"|\b(?:answer|option|choice) (?:is|would be) (?!without|not)\w"
)
_LETTER = re.compile(r"(?<![\w'])(?:[B-H](?![\w'])|A(?=[).:,]|$))")


def is_refusal(answer: str) -> bool:
    """Whether an answer declines and names no choice after all."""
    text = " ".join(answer.replace("\u2019", "'").split())
    plain = text.lower().replace("can't", "cannot").replace("can not", "cannot").replace("n't", " not")
    plain = plain.replace("i'm", "i am")
    found = _REFUSALS.search(plain)
    return found is not None and not _ANSWERS.search(plain, found.end()) and not _LETTER.search(text)
