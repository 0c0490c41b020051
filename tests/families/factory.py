"""`write(family, folder)`: a complete checkpoint of a family, shrunken to run in well under a second on a CPU."""

from pathlib import Path

from tests.families import cropped, gemma, more, native, qwen, tiled
from tests.families.family import Family, write_family

FAMILIES: dict[str, Family] = {
    **qwen.FAMILIES,
    **tiled.FAMILIES,
    **native.FAMILIES,
    **gemma.FAMILIES,
    **cropped.FAMILIES,
    **more.FAMILIES,
}


def write(family: str, folder: Path) -> None:
    """Write the family's checkpoint folder; the same family gives the same bytes.

    Raises:
        KeyError: the factory does not know this family
    """
    write_family(family, FAMILIES[family], folder)
