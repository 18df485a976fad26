"""Bundles on a model hub: uploaded as they are, downloaded into the hub's cache and checked as any bundle is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from amber.errors import UserError

from . import bundle

SCHEME = "hf://"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def named(where: str) -> bool:
    """Return whether a model's place is on the hub."""
    return where.startswith(SCHEME)


def check(name: str) -> None:
    """Refuse what is no repository's name; UserError."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r}: a model on the hub is named OWNER/NAME")


def push(folder: Path, name: str) -> None:
    """Upload a bundle to the repository OWNER/NAME, which is made, private, if it is not there.

    Raises
    ------
    UserError
        If it is no name, the bundle is not whole, or the hub refuses or can't be reached.

    """
    check(name)
    bundle.read(folder)
    from huggingface_hub import HfApi

    with _explained(f"--push {name}"):
        api = HfApi()
        api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Bundle by amber export")


def fetch(where: str) -> Path:
    """Return the folder of `hf://OWNER/NAME[@REVISION]`, downloaded unless it is there.

    Its digests are checked when it is read.

    Raises
    ------
    UserError
        If it is no such name, or the hub refuses or can't be reached.

    """
    name, _, revision = where.removeprefix(SCHEME).partition("@")
    check(name)
    from huggingface_hub import snapshot_download

    with _explained(where):
        folder = Path(snapshot_download(name, revision=revision or None))
    if not (folder / bundle.FILE).is_file():
        raise UserError(f"{where}: no bundle of amber: it has no {bundle.FILE}")
    return folder


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the hub's errors into the user's."""
    from huggingface_hub.errors import HFValidationError

    faults: tuple[type[Exception], ...] = (OSError, HFValidationError)
    with suppress(ImportError):  # from its version 1 on, a lost connection is an error of httpx
        from httpx import HTTPError

        faults = (*faults, HTTPError)
    try:
        yield
    except faults as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise UserError(f"{what}: {reason}\ncheck the name, your access (`hf auth login`) and the network") from error
