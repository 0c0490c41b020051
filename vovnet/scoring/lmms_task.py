"""Scores of an lmms-eval task: its ``process_results`` for a sample, its aggregation for a run."""

import inspect
import io
import logging
import random
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from numbers import Real
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vovnet.data.lmms_calls import asks_server
from vovnet.data.lmms_source import OpenTask, cause_of
from vovnet.data.sample import Sample, SampleRule
from vovnet.errors import VoVNetError, first_line

log = logging.getLogger(__name__)
Results = Mapping[str, Any]


class TaskRule(SampleRule):
    """The score of one metric of a task.

    A metric's value for a sample is the number that ``process_results`` gives for it, or the number under the task's
    ``score_key`` where it gives a mapping (lmms-eval's own convention), or else what the metric's aggregation makes of
    this one sample. An answer for which the task draws at random (MMMU's unreadable letters) is unread and scores 0:
    a policy must not learn from luck. Aggregates of a run keep the task's draws, from a stream per sample.

    Args:
        rows: place of each sample in the task's split, by its id.
        metric: name of the metric; None takes, per sample, the first that is a number.
        scale: scores are divided by it.

    Raises:
        VoVNetError: the task's scores need a judge, or none of its metrics can be a score.
    """

    def __init__(self, opened: OpenTask, rows: Mapping[str, int], metric: str | None, scale: float) -> None:
        self.opened, self.rows, self.metric, self.scale = opened, rows, metric, scale
        self.name = f"lmms/{opened.options.task}"
        self.source = f"{opened.source} {metric or 'first'}/{scale:g}"
        rising = opened.task.higher_is_better()
        self.metrics = [name for name in opened.task.aggregation() if rising.get(name) is not False]
        if metric is not None and metric not in opened.task.aggregation():
            raise VoVNetError(
                f"dataset.metric={metric} is no metric of {self.name}; choose one of {', '.join(self.metrics)}."
            )
        if metric is not None and metric not in self.metrics:
            raise VoVNetError(f"dataset.metric={metric} counts errors (higher_is_better: false); choose another one.")
        self._filters = _filters(opened.config)

    @property
    def decoding(self) -> dict[str, Any]:
        """The task's ``generation_kwargs``; ``until`` is honoured by the scores, the others are for the reader."""
        return dict(self.opened.config.generation_kwargs or {})

    def check(self, sample: Sample) -> str:
        """The name of the metric that scores a sample, tried on its own reference.

        Raises:
            VoVNetError: no metric gives a number in [0, 1].
        """
        results, _ = self._results(sample.id, sample.answers[0])
        return self._value(results, sample.id)[0]

    def __call__(self, answer: str, sample: Sample) -> tuple[float, bool]:
        """Score in [0, 1], and whether the answer could be read."""
        results, drawn = self._results(sample.id, answer)
        return (0.0, False) if drawn else (self._value(results, sample.id)[1], bool(answer.strip()))

    def official(self, samples: Sequence[Sample], answers: Sequence[str | None]) -> dict[str, float | str]:
        """Every metric as the task aggregates it; a sentence where it cannot. Files that it writes are discarded."""
        found: dict[str, list[Any]] = {}
        for sample, answer in zip(samples, answers, strict=True):
            for name, value in self._results(sample.id, answer or "")[0].items():
                found.setdefault(name, []).append(value)
        aggregates: dict[str, float | str] = {}
        for name in (one for one in self.opened.task.aggregation() if one in found):
            if client := asks_server(self.opened.task.aggregation()[name]):
                aggregates[name] = f"not aggregated (it asks a judge or server by {client})"
                continue
            try:
                value = self._aggregate(name, found[name])
            except Exception as error:  # an aggregation may want the whole split, as MME's wants pairs
                aggregates[name] = f"not aggregated ({type(error).__name__}: {first_line(error)})"
                log.warning("%s: %s is %s", self.name, name, aggregates[name])
                continue
            if (number := _number(value, "")) is not None:
                aggregates[name] = number
        return aggregates

    def _results(self, name: str, answer: str) -> tuple[Results, bool]:
        """What ``process_results`` gives, and whether it has drawn at random."""
        for end in self.decoding.get("until") or []:
            answer = answer.split(end)[0] if end else answer
        doc = self.opened.docs[self.rows[name]]  # a new one each time: some tasks change theirs
        try:
            with _draws(f"{self.name} {name}") as drawn:
                results = self.opened.task.process_results(doc, [self._filtered(answer, doc)])
                return results, drawn()
        except Exception as error:  # whatever a task's own code raises, after lmms-eval has tried it five times
            cause = cause_of(error)
            raise VoVNetError(
                f"process_results of {self.name} fails on the question {name} ({type(cause).__name__}: "
                f"{first_line(cause)}); repair the task, or choose another one."
            ) from error

    def _filtered(self, answer: str, doc: Any) -> Any:
        """The answer after the task's first filter pipeline, if it has one."""
        found: list[Any] = [[answer]]
        for one in self._filters:
            found = list(one.apply(found, [doc]))
        return found[0] if self._filters else answer

    def _value(self, results: Results, name: str) -> tuple[str, float]:
        """The metric of one sample and its value in [0, 1]."""
        asked = [one for one in ([self.metric] if self.metric else self.metrics) if one in results]
        key = self.opened.config.score_key
        numbers = ((one, _number(results[one], key)) for one in asked)
        metric, value = next(((one, number) for one, number in numbers if number is not None), (None, None))
        for one in asked if metric is None else []:
            if client := asks_server(self.opened.task.aggregation()[one]):
                raise VoVNetError(
                    f"the metric {one} asks a judge or server by {client}, and {self.name} gives no number per sample; "
                    "choose a task or dataset.metric that is scored by rules."
                )
            with _draws(name):
                metric, value = one, _number(self._aggregate(one, [results[one]]), key)
            if value is not None:
                break
        if metric is None or value is None:
            raise VoVNetError(
                f"{self.name} gives no number for the question {name} ({', '.join(results)}); set dataset.metric to "
                f"one of {', '.join(self.metrics) or 'none'}, or take another task."
            )
        if not 0 <= value / self.scale <= 1:
            raise VoVNetError(
                f"{self.name} scores the question {name} with {metric}={value:g}, outside of [0, 1]; set dataset.scale "
                "to what a right answer scores, such as 100, or dataset.metric to another metric."
            )
        return metric, value / self.scale

    def _aggregate(self, metric: str, values: list[Any]) -> Any:
        function = self.opened.task.aggregation()[metric]
        # Tables are printed, and submissions written; the temporary folder takes them.
        with redirect_stdout(io.StringIO()), TemporaryDirectory() as folder:
            if "args" in inspect.signature(function).parameters:
                return function(values, args=Namespace(output_path=folder))
            return function(values)


def _number(value: Any, key: str) -> float | None:
    if isinstance(value, Mapping):
        value = value.get(key)
    return float(value) if isinstance(value, Real) else None


def _filters(config: Any) -> list[Any]:
    """The steps of a task's first filter pipeline."""
    from lmms_eval.filters import build_filter_ensemble

    if not config.filter_list:
        return []
    first = config.filter_list[0]
    steps = [[step["function"], {k: v for k, v in step.items() if k != "function"}] for step in first["filter"]]
    return list(build_filter_ensemble(first["name"], steps).filters)


@contextmanager
def _draws(seed: str) -> Iterator[Any]:
    """Python's and NumPy's random streams begun anew for one sample, and put back; gives whether one was drawn from."""
    before, numbers = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(random.getrandbits(32))
    begun = _streams()
    try:
        yield lambda: _streams() != begun
    finally:
        random.setstate(before)
        np.random.set_state(numbers)


def _streams() -> tuple[Any, ...]:
    """Where both streams stand."""
    _, words, *rest = np.random.get_state()
    return random.getstate(), np.asarray(words).tobytes(), rest
