"""Prediction from Python: `amber.load(path).predict(audio=…, text=…)`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from amber.console import Console
from amber.corpus import Modality
from amber.errors import UserError
from amber.machine import set_thread_defaults

from . import inputs, model, stage
from .rows import Prediction

RATE = 16_000  # Hz, of arrays, unless told otherwise


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to predict; made by `amber.load`."""

    model: model.Model
    options: stage.Options = field(default_factory=stage.Options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes in order."""
        return self.model.classes

    @overload
    def predict(self, audio: Any = None, text: str | None = None, rate: int = RATE) -> Prediction: ...
    @overload
    def predict(
        self, audio: Sequence[Any] | None = None, text: Sequence[str | None] | None = None, rate: int = RATE
    ) -> list[Prediction]: ...
    def predict(self, audio: Any = None, text: Any = None, rate: int = RATE) -> Any:
        """Predict how raters would vote.

        Parameters
        ----------
        audio
            A recording: a path, or an array of samples (T,) or (T, channels), floats from -1 to 1 or integers; or a
            list of recordings, None where there is none.
        text
            What is said: a string, or a list of as many.
        rate
            Samples per second of arrays.

        Returns
        -------
        Prediction or list of Prediction
            One for each recording and text; a list if a list was given. What can't be read has an `error`.

        Raises
        ------
        UserError
            If there is nothing to predict, the lists differ in length, or the model can't answer for what is given.

        Examples
        --------
        >>> predictor = amber.load("runs/demo")                                  # doctest: +SKIP
        >>> predictor.predict(audio="a.wav", text="what a day").distribution     # doctest: +SKIP
        {'neutral': 0.21, 'happy': 0.55, 'sad': 0.09, 'angry': 0.15}

        """
        many = isinstance(audio, list | tuple) or isinstance(text, list | tuple)
        sounds, texts = _paired(audio, text) if many else ([audio], [text])
        if all(sound is None and said is None for sound, said in zip(sounds, texts, strict=True)):
            raise UserError("predict: give audio, text, or both")
        with tempfile.TemporaryDirectory(prefix="amber-") as folder:
            corpus = inputs.of_arrays(sounds, texts, rate, Path(folder))
            found = stage.run(self.model, corpus, Path(folder, "cache"), self.options, Console(quiet=True))
        return found if many else found[0]


def load(
    path: str | Path,
    variant: str | None = None,
    speech: str | None = None,
    text: str | None = None,
    device: str = "auto",
) -> Predictor:
    """Load a trained model.

    Parameters
    ----------
    path
        A bundle that `amber export` wrote, a run's folder, or an experiment's, whose runs of a variant then answer
        together: the mean of their distributions; or `hf://OWNER/NAME[@REVISION]`, a bundle on the hub.
    variant
        Which variant of an experiment; None for `amber2`, or the only one.
    speech, text
        The encoder's folder, where the model was trained on an encoder in a local folder.
    device
        Where the encoders run.

    Raises
    ------
    UserError
        If there is no model there, or a file of it is not as it was written.

    """
    set_thread_defaults()
    given: dict[Modality, str | None] = {"speech": speech, "text": text}
    encoders = {modality: where for modality, where in given.items() if where}
    return Predictor(model.load(path, variant), stage.Options(encoders, device))


def _paired(audio: Any, text: Any) -> tuple[list[Any], list[Any]]:
    """Return as many recordings as texts, None where there are none."""
    sounds = list(audio) if isinstance(audio, list | tuple) else None if audio is None else [audio]
    texts = list(text) if isinstance(text, list | tuple) else None if text is None else [text]
    size = len(sounds if sounds is not None else texts or [])
    sounds = sounds if sounds is not None else [None] * size
    texts = texts if texts is not None else [None] * size
    if len(sounds) != len(texts):
        raise UserError(
            f"predict: {len(sounds)} recordings and {len(texts)} texts; give as many of both, None for none"
        )
    return sounds, texts
