"""`amber corpus synth`: the demo corpus in the file layout of a licensed one, to try its commands without a licence."""

from __future__ import annotations

import importlib
from pathlib import Path

from amber.errors import UserError, abbreviate, nearest

from .. import corpora
from .writing import README

LAYOUTS = {
    "iemocap": ".iemocap",
    "msp-podcast": ".msp_podcast",
    "msp-podcast-1.6": ".msp_podcast",
    "msp-podcast-2.0": ".msp_podcast",
    "crema-d": ".crema_d",
}


def run(layout: str, out: Path, size: int, seed: int) -> None:
    """Write `size` utterances in a layout into a new or empty folder.

    Raises
    ------
    UserError
        If the layout is unknown or the folder is not empty.

    """
    if layout not in LAYOUTS:
        raise UserError(f"--layout: unknown {layout!r}{nearest(layout, LAYOUTS)}; known: {abbreviate(LAYOUTS, 9)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / corpora.SYNTHETIC).write_text(README, encoding="utf-8")
    module = importlib.import_module(LAYOUTS[layout], __name__)
    named = {"layout": layout} if layout.startswith("msp-podcast") else {}
    module.write(out, size, seed, **named)
