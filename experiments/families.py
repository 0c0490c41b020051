"""Try checkpoints of any family with the generic implementation, and show what each can do.

python -m experiments.families FOLDER [FOLDER ...] [--markdown FILE]
"""

import argparse
import sys
from pathlib import Path

from vovnet.errors import VoVNetError, explained
from vovnet.explain import fail


def main() -> None:
    """Console entry point; exits with 1 where no checkpoint runs."""
    parser = argparse.ArgumentParser(prog="experiments.families", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a checkpoint, or a folder of some")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table as a page")
    asked = parser.parse_args()
    try:
        _run(asked.folders, asked.markdown)
    except (VoVNetError, OSError) as error:
        if not isinstance(problem := explained(error), VoVNetError):
            raise
        sys.exit(fail(str(problem), with_traceback=False))
    except KeyboardInterrupt:
        sys.exit(130)


def _run(folders: list[Path], markdown: Path | None) -> None:
    from vovnet.files import write_text
    from vovnet.report.families import page, print_families
    from vovnet.vlm.generic.probe import probe

    rows = probe(folders)
    print_families(rows)
    if markdown is not None:
        write_text(markdown, page(rows))
    if all(row.reason for row in rows):
        raise VoVNetError(f"none of {len(rows)} checkpoints runs; the table says why.")


if __name__ == "__main__":
    main()
