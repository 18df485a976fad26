"""The demo corpus is as documented, and can be learned from voice and from words."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from amber.console import Console
from amber.errors import UserError
from amber.extract.corpora import Source, demo, load


def source(tmp_path, **options) -> Source:  # type: ignore[no-untyped-def]
    return Source("demo", "demo", tmp_path / "demo", options=options)


def test_it_is_as_described() -> None:
    made = demo.make()
    utterances = [item.utterance for item in made]
    assert len(utterances) == 600
    assert len({u.speaker for u in utterances}) == 10
    assert {u.session for u in utterances} == set("12345")
    assert {len(u.votes) for u in utterances} == {3, 4, 5, 6}
    conflicts = np.mean([u.extra["conflict"] == "yes" for u in utterances])
    assert abs(conflicts - demo.CONFLICT) < 0.05
    for u in utterances:
        assert len({v.rater for v in u.votes}) == len(u.votes)
        assert sum(u.truth or ()) == pytest.approx(1)


def test_votes_come_from_the_truth() -> None:
    made = demo.make(4000)
    truth = np.array([item.utterance.truth for item in made])
    shares = np.array([[np.mean([v.labels[0] == c for v in i.utterance.votes]) for c in demo.CLASSES] for i in made])
    # Averaged over many utterances, the vote shares are the truth's.
    np.testing.assert_allclose(shares.mean(axis=0), truth.mean(axis=0), atol=0.02)
    # And raters split where voice and words disagree.
    conflict = np.array([i.utterance.extra["conflict"] == "yes" for i in made])
    assert shares.max(axis=1)[conflict].mean() < shares.max(axis=1)[~conflict].mean() - 0.1


def test_it_is_the_same_every_time_and_other_with_another_seed() -> None:
    first, again, other = demo.make(20), demo.make(30)[:20], demo.make(20, seed=1)
    assert [i.utterance for i in first] == [i.utterance for i in again]
    assert [i.utterance for i in first] != [i.utterance for i in other]
    np.testing.assert_array_equal(first[3].waveform(), again[3].waveform())


def test_audio_is_written_once_and_is_whole(tmp_path) -> None:  # type: ignore[no-untyped-def]
    loaded = load(source(tmp_path, size=3))
    assert not (tmp_path / "demo").exists()  # a look at the corpus writes nothing
    assert loaded.prepare
    loaded.prepare(Console(quiet=True))
    (folder,) = (tmp_path / "demo").iterdir()
    samples, rate = soundfile.read(folder / "demo_0001.wav", dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(samples, demo.make(1)[0].waveform(), atol=1 / 32768)
    assert loaded.corpus.synthetic


@pytest.mark.parametrize("options", [{"size": 0}, {"size": "x"}, {"seed": -1}, {"conflict": 2}, {"sizes": 3}])
def test_options_that_do_not_fit(tmp_path, options) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"corpus\.options"):
        load(source(tmp_path, **options))
