"""Training and evaluation sets made ready: opened, compared, and written without what they share."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vovnet.data import load_dataset
from vovnet.data.guard import LeakReport
from vovnet.data.leaks import enforce, held_out, leak_report
from vovnet.data.sample import ImageRef, Sample, VQADataset
from vovnet.errors import VoVNetError, keeps_from_writing
from vovnet.files import refuse_foreign, whole_folder, write_json
from vovnet.provenance import SUMMARY, provenance
from vovnet.schema import PrepareConfig, RunConfig
from vovnet.session import Session
from vovnet.terminal import counted

STAMP = "prepared.json"  # in a folder that was written here


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        reports: one per evaluation split.
        dropped: ids of training samples that were left out.
        out: where the training set was written; None when it was not.
    """

    training: VQADataset
    reports: Sequence[LeakReport]
    dropped: Sequence[str]
    out: Path | None

    def lines(self) -> list[str]:
        """For the terminal."""
        name = f"{self.training.name}/{self.training.split}"
        said = [
            f"training: {name}, {counted(len(self.training), 'question')}, "
            f"{counted(len(self.training.skipped), 'row')} skipped"
        ]
        for report in self.reports:
            counts = Counter(finding.kind for finding in report.findings)
            found = ", ".join(f"{count} by {kind}" for kind, count in counts.items()) or "nothing shared"
            said.append(
                f"evaluation: {report.evaluation['name']}/{report.evaluation['split']}: {found} "
                f"(questions that are templates of their set: {report.templates})"
            )
        if self.out is not None:
            said.append(f"written: {self.out}, without {counted(len(self.dropped), 'row')}")
        return said


def prepare(config: RunConfig, options: PrepareConfig, folder: Path, session: Session | None = None) -> Prepared:
    """Compare the training split with every evaluation split; write it if asked to.

    Raises:
        VoVNetError: they share samples, and neither ``leaks.allow`` nor ``prepare.drop`` says to go on.
    """
    out = None if options.out is None else Path(options.out).expanduser()
    if out is not None:  # before minutes of comparing
        refuse_foreign(out, STAMP, "prepare.out")
    training = load_dataset(config.dataset, "train", session=session)
    chosen = [load_dataset(part, "test", session=session) for part in options.evaluation.values()]
    evaluations = chosen or held_out(config.dataset, session)
    reports = [leak_report(training, evaluation, Path(config.paths.data)) for evaluation in evaluations]
    bad = [finding for report in reports for finding in report.refused(config.leaks.allow)]
    dropping = options.drop and options.out is not None and all(finding.kind != "split" for finding in bad)
    write_json(
        folder / SUMMARY,
        {
            "config": asdict(config),
            "dataset": {"name": training.name, "split": "train", "fingerprint": training.fingerprint},
            "rows_skipped": list(training.skipped),
            "leak_guard": [report.as_json(config.leaks.allow) for report in reports],
            **provenance(session),
        },
    )
    if not dropping:
        enforce(reports, config.leaks)
    dropped = _leaking(training, reports) if dropping else set()
    if out is not None:
        try:
            whole_folder(out, lambda place: write_training_set(training, dropped, place))
        except OSError as error:
            if keeps_from_writing(error):
                raise
            raise VoVNetError(f"prepare.out={out} cannot be made ({error.strerror}); name another folder.") from error
    return Prepared(training, reports, sorted(dropped), out)


def _leaking(training: VQADataset, reports: Sequence[LeakReport]) -> set[str]:
    """Training samples that an evaluation sample was found in; with them all questions about their images."""
    named = {finding.training for report in reports for finding in report.findings}
    images = {image for i in range(len(training)) if training[i].id in named for image in training[i].images}
    about = {training[i].id for i in range(len(training)) if images.intersection(training[i].images)}
    return named | about


def write_training_set(training: VQADataset, without: set[str], folder: Path) -> None:
    """Write ``train.jsonl`` and its images, in the format of ``vovnet/data/jsonl.py``, and what they were made of."""
    (folder / "images").mkdir(parents=True)
    names: dict[ImageRef, str] = {}
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for index in range(len(training)):
            sample = training[index]
            if sample.id not in without:
                file.write(json.dumps(_line(sample, names, folder), ensure_ascii=False) + "\n")
    write_json(folder / STAMP, {"dataset": training.name, "fingerprint": training.fingerprint})


def _line(sample: Sample, names: dict[ImageRef, str], folder: Path) -> dict[str, object]:
    for image in sample.images:
        if image not in names:
            names[image] = f"images/{len(names):07d}"
            (folder / names[image]).write_bytes(image.content())
    line = {
        "id": sample.id,
        "image": [names[image] for image in sample.images],
        "question": sample.question,
        "answers": list(sample.answers),
        "options": list(sample.options),
        "hint": sample.hint,
        "group": sample.group,
        "category": sample.category,
    }
    return {key: value for key, value in line.items() if value}
