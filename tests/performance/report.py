"""performance.json and performance.md, written anew after every figure: a run that is killed keeps what it measured."""

import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.performance.measure import Measurement
from tests.performance.workload import Bench, Timing
from vovnet.files import write_json, write_text
from vovnet.provenance import provenance

Found = Measurement | Timing


def circumstances(bench: Bench | None) -> dict[str, Any]:
    """Machine, device, versions and command; with a backbone its name and the measured rates."""
    facts: dict[str, Any] = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "threads": torch.get_num_threads(),
        **provenance(),
        "machine": platform.machine(),
    }
    if bench is None:
        return facts
    cuda = bench.device.type == "cuda"
    return facts | {
        "device": torch.cuda.get_device_name(bench.device) if cuda else "CPU",
        "cuda": torch.version.cuda if cuda else None,
        "backbone": bench.config.backbone.name,
        "parameters": sum(p.numel() for p in bench.backbone.parameters()),
        "dtype": bench.config.backbone.dtype,
        "attention": bench.config.backbone.attn_implementation,
        "matrix_tflops": bench.rates.flops / 1e12,
        "bandwidth_tb_s": bench.rates.bandwidth / 1e12,
    }


def write(folder: Path, found: Sequence[Found], facts: dict[str, Any], seconds: dict[str, float]) -> None:
    """Both files.

    Args:
        seconds: that each part took.
    """
    targets = [one.as_json() for one in found if isinstance(one, Measurement)]
    timings = [one.as_json() for one in found if isinstance(one, Timing)]
    write_json(
        folder / "performance.json", {"measurements": targets, "timings": timings, "part_seconds": seconds, **facts}
    )
    write_text(folder / "performance.md", markdown(targets, timings, facts))


def markdown(targets: Sequence[dict[str, Any]], timings: Sequence[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Circumstances, targets and timings as tables."""
    lines = ["# Performance", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += ["| target | value | at most | | |", "|---|--:|--:|---|---|"]
    lines += [
        f"| {t['name']} | {t['value']:.4g} {t['unit']} | {t['target']:.4g} | {'pass' if t['passed'] else 'MISS'} "
        f"| {t['detail']} |"
        for t in targets
    ]
    lines += ["", "Floor: the arithmetic at the measured rate or the traffic at the measured bandwidth.", ""]
    lines += ["| part | case | batch | ms | floor, ms | floor / ms | tokens/s | peak, GB |", "|---|---|" + "--:|" * 6]
    lines += [_row(t) for t in timings]
    return "\n".join([*lines, ""])


def _row(t: dict[str, Any]) -> str:
    if t["seconds"] is None:
        return f"| {t['part']} | {t['case']} | | {t['note']} | | | | |"
    floor = "" if t["floor"] is None else f"{t['floor'] * 1e3:.2f}"
    share = "" if t["share_of_floor"] is None else f"{t['share_of_floor']:.0%}"
    peak = "" if t["peak"] is None else f"{t['peak'] / 1e9:.1f}"
    cells = (t["part"], t["case"], t["batch"], f"{t['seconds'] * 1e3:.2f}", floor, share)
    return "| " + " | ".join(map(str, (*cells, f"{t['tokens_per_second']:.0f}", peak))) + " |"
