"""A dataset in an HDF5 file of unknown origin, opened with checks: no other files are read, no sizes are trusted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from amber.errors import UserError, abbreviate, printable

LARGEST_RATIO = 2_000  # claimed size of an array to the file's: the best compression reaches about 1,000
LARGEST_BLOCK = 1 << 30  # bytes of a chunk or a row, which are read at once
MOST_LINKS = 16  # that may lead from one to the next


@dataclass(frozen=True)
class Hdf5Path:
    """A dataset in an HDF5 file, and the option that named it."""

    option: str
    file: Path
    inner: str

    @classmethod
    def parse(cls, option: str, text: str) -> Hdf5Path:
        """Read `FILE:/PATH`.

        Raises
        ------
        UserError
            If there is no `:` with something on both sides.

        """
        file, _, inner = text.rpartition(":")
        if not file or not inner.strip("/"):
            raise UserError(f"{option} {text}: write it as FILE:/PATH, such as features.h5:/speech")
        return cls(option, Path(file), inner.strip("/"))

    def __str__(self) -> str:
        return f"{self.file}:/{self.inner}"

    def is_there(self) -> bool:
        """Return whether the file has something at this path."""
        with reading(self), h5py.File(self.file, "r") as file:
            return _resolve(file, self.inner, self) is not None

    def open(self, files: ExitStack) -> h5py.Dataset:
        """Open the dataset until `files` closes.

        Raises
        ------
        UserError
            If there is no such file, it is not HDF5, or it holds no such dataset (the message lists what it holds);
            if the dataset's values are in other files, or its claimed size exceeds what the file can hold.

        """
        if not self.file.is_file():
            raise UserError(f"{self.option} {self}: no such file")
        with reading(self):
            file = files.enter_context(h5py.File(self.file, "r"))
            found = _resolve(file, self.inner, self)
            if isinstance(found, h5py.Dataset):
                _check_dataset(found, self.file.stat().st_size, self)
                return found
            there: list[str] = []
            file.visititems(lambda name, item: there.append(f"/{name}") if isinstance(item, h5py.Dataset) else None)
        what = "is a group" if isinstance(found, h5py.Group) else "is not there"
        holds = f"the file holds {abbreviate(map(printable, there), 9) or 'nothing'}"
        raise UserError(f"{self.option} {self.file}: /{self.inner} {what}; {holds}")


@contextmanager
def reading(place: Hdf5Path) -> Iterator[None]:
    """Turn the exceptions of h5py for a damaged or foreign file into a `UserError`."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{place.option} {place}: can't be read as HDF5: {printable(reason)[:200]}") from None


def _resolve(file: h5py.File, inner: str, place: Hdf5Path) -> Any:
    """Return the object at a path of a file, or None; a link to another file raises a UserError."""
    node: Any = file
    names, hops = deque(inner.split("/")), 0
    while names:
        name = names.popleft()
        if not name or name == ".":
            continue
        link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            other = printable(link.filename)
            raise UserError(f"{place.option} {place}: a link to another file, {other!r}; not followed")
        if isinstance(link, h5py.SoftLink):
            hops += 1
            if hops > MOST_LINKS:
                raise UserError(f"{place.option} {place}: a link that leads to itself")
            node = file if link.path.startswith("/") else node
            names.extendleft(reversed(link.path.split("/")))
        elif link is None:
            return None
        else:
            node = node[name]
    return node


def _check_dataset(found: h5py.Dataset, size: int, place: Hdf5Path) -> None:
    """Refuse a dataset with values in other files, or whose claimed size exceeds what `size` bytes can hold."""
    if found.external:
        raise UserError(f"{place.option} {place}: its values are in another file, {found.external[0][0]!r}; not read")
    if found.is_virtual:
        raise UserError(f"{place.option} {place}: a virtual dataset, made of others; store the values themselves")
    if found.shape is None:
        raise UserError(f"{place.option} {place}: an empty dataset, without a shape")
    claimed = math.prod(found.shape) * found.dtype.itemsize
    if claimed > LARGEST_RATIO * size:
        raise UserError(f"{place.option} {place}: claims {found.shape} values, which {size:,} bytes can't hold")
    chunk = math.prod(found.chunks or (0,)) * found.dtype.itemsize
    row = math.prod(found.shape[1:]) * found.dtype.itemsize
    if max(chunk, row) > LARGEST_BLOCK:
        raise UserError(f"{place.option} {place}: a chunk or row of {max(chunk, row) / 1e9:.1f} GB; too much at a time")
