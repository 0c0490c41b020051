"""What becomes of the keys that people write for sbatch: obeyed, or refused in a sentence."""

import pytest
from submitit.slurm.slurm import _make_sbatch_string

from tests.cluster.test_launchers import launcher
from vovnet.cluster.sbatch import OWN, sbatch_parameters
from vovnet.errors import VoVNetError

EXTRA = "+launcher.additional_parameters."


def options(*overrides: str) -> list[str]:
    """The options in a batch script, in order."""
    script = _make_sbatch_string(
        command="c", folder="/f/%j", map_count=2, **sbatch_parameters(launcher(*overrides), "x")
    )
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize(
    ("given", "obeyed"),
    [
        ("exclude=[n1,n2]", "--exclude=n1,n2"),
        ("nodelist=[n1]", "--nodelist=n1"),
        ("mem=0", "--mem=0"),
        ("gres=gpu:h200:1", "--gres=gpu:h200:1"),
        ("gpus-per-node=2", "--gpus-per-node=2"),
        ("exclusive=true", "--exclusive"),
        ("nice=100", "--nice=100"),
        ("mail_user=a@b.org", "--mail-user=a@b.org"),
        ("time=2-00:00:00", "--time=2-00:00:00"),
    ],
)
def test_an_option_is_obeyed_once(given: str, obeyed: str) -> None:
    found = options(EXTRA + given, "launcher.gpus_per_node=1")
    assert [option for option in found if option.partition("=")[0] == obeyed.partition("=")[0]] == [obeyed]
    assert "--requeue" in found


@pytest.mark.parametrize("given", ["requeue=false", "no-requeue=true", "no_requeue=true"])
def test_jobs_are_not_requeued_where_that_is_asked(given: str) -> None:
    assert [option for option in options(EXTRA + given) if "requeue" in option] == ["--no-requeue"]


def test_false_leaves_an_option_out() -> None:
    assert not [option for option in options(EXTRA + "exclusive=false", EXTRA + "no-requeue=false") if "excl" in option]
    assert "--requeue" in options(EXTRA + "no-requeue=false")


@pytest.mark.parametrize("given", ["requeue=no", "requeue=0", "requeue='false'", "no-requeue=yes", "requeue=[a]"])
def test_whether_to_requeue_is_true_or_false(given: str) -> None:
    key = given.partition("=")[0]
    with pytest.raises(VoVNetError, match=rf"^launcher.additional_parameters.{key}=.* set it to true or false\.$"):
        options(EXTRA + given)


@pytest.mark.parametrize("key", [*OWN, "job-name", "test-only", "arr", "outp"])
def test_what_the_sweep_sets_itself_is_refused(key: str) -> None:
    with pytest.raises(VoVNetError, match=rf"^launcher.additional_parameters.{key} cannot be set: .*; leave it out\.$"):
        options(f"{EXTRA}{key}=1")


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("90", 90), ("90:30", 91), ("1:30:00", 90), ("2-12", 3600), ("2-12:30", 3630), ("2-00:00:01", 2881)],
)
def test_submitit_knows_a_time_limit_that_is_given_as_slurm_writes_it(limit: str, minutes: int) -> None:
    """It judges by it whether a job that gets a signal has reached its limit."""
    assert sbatch_parameters(launcher(f"{EXTRA}time='{limit}'"), "x")["time"] == minutes


def test_a_time_limit_that_is_none_is_refused() -> None:
    with pytest.raises(VoVNetError, match=r"time=tomorrow is no time limit; set launcher.timeout_min in minutes"):
        options(EXTRA + "time=tomorrow")


@pytest.mark.parametrize("value", ["null", "{a:1}", "[]", "[[n1]]", "[n1,null]"])
def test_a_value_that_is_none_is_refused_in_one_sentence(value: str) -> None:
    with pytest.raises(VoVNetError, match=r"^launcher.additional_parameters.x: give one value, or a list of them"):
        options(f"{EXTRA}x={value}")
