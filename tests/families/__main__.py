"""Write all shrunken checkpoints into a folder: python -m tests.families FOLDER."""

import sys
from pathlib import Path

from tests.families.factory import FAMILIES, write


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    for name in FAMILIES:
        if not (Path(sys.argv[1]) / name / "config.json").exists():
            write(name, Path(sys.argv[1]) / name)
            print(name, flush=True)


if __name__ == "__main__":
    main()
