"""A job is followed through few files: no more than today, until the targets of ``tests.reach`` are met."""

from pathlib import Path

from tests.reach import KEYS, reach

TODAY = {"a further lambda": 44, "a further live row": 86}  # lower these with the code


def test_a_job_calls_functions_of_no_more_files_than_today(tmp_path: Path) -> None:
    found = reach(tmp_path)
    for kind in KEYS:
        assert len(found[kind]) <= TODAY[kind], "\n".join(found[kind])
        assert {"vovnet/results/evaluate.py", "vovnet/policy/vovnet.py"} <= {*found[kind]}
    assert "vovnet/outcomes/collect.py" not in found["a further lambda"]  # nothing is collected or loaded again
    assert "vovnet/results/live.py" in found["a further live row"]
