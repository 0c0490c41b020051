"""Published sets from the hub, by the `datasets` library: downloaded once, then read from its local cache."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.data.images import OpenFiles
from vovnet.data.sample import ImageRef
from vovnet.data.tables import Row, lower_names, or_nothing
from vovnet.errors import VoVNetError, first_line, keeps_from_writing
from vovnet.fingerprint import recall_text, remember_text
from vovnet.schema import HubConfig

log = logging.getLogger(__name__)
Key = tuple[str, str | None, str, bool]  # repository, configuration, upstream's split, only what is cached


@dataclass(frozen=True)
class HubImage(ImageRef):
    """An image in the library's Arrow cache.

    Attributes:
        table: what the cache was opened as, and whether it had to be there.
        row, column: its cell.
    """

    table: Key = ("", None, "", True)
    row: int = 0
    column: str = "image"
    opened: OpenFiles = field(default_factory=OpenFiles, repr=False, compare=False)

    def content(self) -> bytes:
        """The cell's bytes."""
        cell = _open_table(self.table, self.opened)[self.row][self.column]
        stored: bytes | None = cell.get("bytes") if cell else None
        if not stored:  # a path in its place may lead anywhere and is not followed
            raise self.refused("holds no bytes")
        return stored

    def where(self) -> str:
        """Set, row and column."""
        return f"of {self.table[0]} ({self.table[2]}), row {self.row}, {self.column},"


def hub_table(
    name: str, hub: HubConfig, split: str, advice: str, opened: OpenFiles, only_local: bool = False
) -> list[tuple[Path, Iterator[Row]]]:
    """Each configuration's cache file with its rows.

    Raises:
        VoVNetError: neither in the cache nor to be downloaded; with ``only_local`` not opened here before.
    """
    upstream = hub.train if split == "train" else hub.test
    if upstream is None:
        raise VoVNetError(f"dataset={name} has no {split} split on the hub ({hub.id}).")
    tables = []
    for config in hub.configs or (None,):
        key = (hub.id, config, upstream, only_local)
        if not only_local:
            ask_hub(hub.id)
        try:
            table = _open_table(key, opened)
        except Exception as error:  # the library raises whatever its back ends raise; all of it means: not there
            if keeps_from_writing(error):
                raise
            if only_local:
                raise VoVNetError(
                    f"{hub.id} ({config or 'default'}, {upstream}) is not in this machine's cache "
                    f"({first_line(error)}); open it by a command of your own with dataset={name}."
                ) from error
            raise VoVNetError(
                f"{hub.id} ({config or 'default'}, {upstream}) is neither in the local cache nor to be downloaded "
                f"({type(error).__name__}: {first_line(error)}); {advice} Then set dataset.path to where it lies."
            ) from error
        path = Path(table.cache_files[0]["filename"])
        tables.append((path, _rows(key, path, opened)))
    return tables


def hub_is_off() -> bool:
    """Whether downloads are switched off."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def ask_hub(name: str) -> None:
    """Say what is looked up, since the client asks again for half a minute where the hub does not answer.

    Its own lines, two for each try, are silent from here on: the error at the end says why.
    """
    if hub_is_off():
        return
    from huggingface_hub.utils.logging import set_verbosity_error

    set_verbosity_error()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    log.info("looking %s up on the hub; where it does not answer, it is asked again for about half a minute", name)


def _open_table(key: Key, opened: OpenFiles) -> Any:
    return opened.once("hub", key, lambda: _opened_table(*key), keep=64)


def _opened_table(name: str, config: str | None, split: str, only_local: bool) -> Any:
    """A split with its images as stored bytes.

    The library asks the hub even about a set that it has cached. So it is remembered where each cache lies, and with
    ``only_local`` those files are opened.
    """
    from datasets import Dataset, concatenate_datasets, load_dataset
    from datasets import Image as ImageFeature

    place = f"hub {json.dumps([name, config, split])}"
    if only_local:
        if (known := recall_text(place)) is None:
            raise FileNotFoundError("it was never opened here")
        table = concatenate_datasets([Dataset.from_file(file) for file in json.loads(known)])
    else:
        table = load_dataset(name, config, split=split)
        if (files := json.dumps([file["filename"] for file in table.cache_files])) != recall_text(place):
            remember_text(place, files)
    for column, feature in table.features.items():
        if isinstance(feature, ImageFeature):
            table = table.cast_column(column, ImageFeature(decode=False))
    return table


def _rows(key: Key, path: Path, opened: OpenFiles) -> Iterator[Row]:
    """Rows without images' bytes."""
    from datasets import Image as ImageFeature

    table = _open_table(key, opened)
    images = [name for name, feature in table.features.items() if isinstance(feature, ImageFeature)]
    lower_names(path, table.column_names)
    small = table.remove_columns(images)
    filled = {name: table.data.column(name).combine_chunks().is_valid().to_pylist() for name in images}
    for number, record in enumerate(small):
        present = [name for name in images if filled[name][number]]
        found: dict[str, ImageRef] = {
            name.lower(): HubImage(f"{number}:{name}", path, key, number, name, opened) for name in present
        }
        yield Row(number, {name.lower(): or_nothing(value) for name, value in record.items()}, found)
