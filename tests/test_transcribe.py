"""`amber transcribe` through the command line: kills, failures, replaced recordings, and whose words the text is."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from conftest import ONE, SHARED, Amber, Run, contents, flip
from tiny_recognisers import save

from amber.config import Config
from amber.config_file import load
from amber.console import Console
from amber.corpus import Corpus
from amber.errors import RunFailure, UserError
from amber.extract import stage, transcribe
from amber.extract.stage import load_corpus
from amber.extract.transcript_tables import tables
from amber.extract.transcripts import UNIT, TranscriptStore, read
from amber.features.store import feature_sets

ROWS, RECORDINGS = 4 * UNIT + 10, 8
WHISPER = SHARED / "whisper-tiny.en"
QUIET = Console(quiet=True)
NAME = "tiny-ctc"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of short recordings, one broken, one utterance without any, a third without text; and a model."""
    folder = tmp_path_factory.mktemp("corpus")
    random_ = np.random.default_rng(0)
    for i in range(RECORDINGS):
        soundfile.write(folder / f"r{i}.wav", random_.normal(0, 0.1, 3000 + 1000 * i), 16_000)
    (folder / "broken.wav").write_bytes(b"RIFF but no more than that" * 50)
    rows = []
    for i in range(ROWS):
        audio = {70: "broken.wav", 71: ""}.get(i, f"r{i % RECORDINGS}.wav")
        rows.append(f"u{i:04},{audio},{'' if i % 3 == 2 else 'it is fine'},s{i % 3},1")
    (folder / "table.csv").write_text("\n".join(["id,audio,text,speaker,vote_joy", *rows]) + "\n")
    save("wav2vec2", folder / NAME)
    return folder


def config(corpus: Path, cache: Path, *more: str) -> Config:
    where = [f"corpus.root={corpus}", f"features.cache={cache}", f"transcribe.model={corpus / NAME}"]
    return load(None, ["corpus.dataset=table", *where, *more])


def run(corpus: Path, cache: Path) -> transcribe.Outcome:
    return transcribe.run(config(corpus, cache), QUIET)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with transcripts made without interruption; not to be written to."""
    cache = tmp_path_factory.mktemp("whole")
    run(corpus, cache)
    return cache


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    """A cache with transcripts that may be written to."""
    return Path(shutil.copytree(whole, tmp_path / "cache"))


@pytest.fixture
def own(corpus: Path, tmp_path: Path) -> Path:
    """A copy of the corpus that may be changed, its recordings' times kept."""
    return Path(shutil.copytree(corpus, tmp_path / "corpus", copy_function=shutil.copy2))


def table(cache: Path) -> Path:
    (found,) = (cache / "table").glob("transcripts-*.parquet")
    return found


def files(cache: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(cache / "table").items() if not name.startswith(".lock")}


def parts(cache: Path) -> int:
    return len(list(cache.glob("table/*.parts/*.json")))


def test_the_command_says_what_it_did(amber: Amber, corpus: Path, tmp_path: Path) -> None:
    asked = ("--dataset", "table", "--root", corpus, "--model", corpus / NAME, "--features", tmp_path)
    assert f"0 of {-(-ROWS // UNIT)} units done" in amber("transcribe", *asked, "--dry-run").stdout
    assert not list(tmp_path.iterdir())
    done = amber("transcribe", *asked)
    assert f"{ROWS - 2} ok, 1 failed, 1 absent" in done.stdout
    assert "word error rate against" in done.stdout
    assert "u0070: broken.wav" in done.stderr
    again = json.loads(amber("-q", "transcribe", *asked, "--json").stdout)
    assert again["units_done_now"] == 0
    assert again["counts"] == {"ok": ROWS - 2, "truncated": 0, "failed": 1, "absent": 1}
    assert list(again["errors"]) == ["u0070"]
    assert again["wer"]["utterances"] == sum(i % 3 != 2 and i not in (70, 71) for i in range(ROWS))
    retried = json.loads(amber("-q", "transcribe", *asked, "--json", "--retry-failed").stdout)
    assert retried["units_done_now"] == 1


def test_kills_cost_no_byte(corpus: Path, whole: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["amber.extract.transcribe", "amber.extract.recognisers.ctc", "conftest"])
    when, landed = random.Random(0), []
    for _ in range(40):
        if len(landed) == 8:
            break
        process = context.Process(target=run, args=(corpus, tmp_path))
        process.start()
        before = parts(tmp_path)
        while process.is_alive() and parts(tmp_path) == before:
            time.sleep(0.001)
        process.join(when.uniform(0, 0.02))
        if process.exitcode is None:
            assert process.pid
            os.kill(process.pid, 9)
            process.join()
            landed.append(parts(tmp_path))
        else:
            assert process.exitcode == 0
        if parts(tmp_path) > 2:  # so that there is work to meet: some of what is done is lost
            for path in when.sample(sorted(tmp_path.glob("table/*.parts/*.json")), 2):
                path.unlink()
        elif not parts(tmp_path):
            shutil.rmtree(tmp_path / "table")
    assert len(landed) == 8
    assert any(0 < count < -(-ROWS // UNIT) for count in landed), landed
    run(corpus, tmp_path)
    assert files(tmp_path) == files(whole)


def test_the_rows_are_the_corpus_s_in_order(whole: Path) -> None:
    spec, ids, rows = read(table(whole))
    assert ids == tuple(f"u{i:04}" for i in range(ROWS))
    assert (rows[70].status, rows[70].text, rows[71].status, rows[71].text) == ("failed", None, "absent", None)
    by_recording = {rows[i].text for i in range(0, ROWS, RECORDINGS)}
    assert len(by_recording) == 1  # r0 says the same wherever it stands
    assert len({one.text for one in rows[:RECORDINGS]}) > 3
    assert spec.origin == f"asr:{NAME}@{spec.revision}"
    column = pq.read_table(table(whole))["origin"].to_pylist()
    assert set(column[:70]) == {spec.origin}
    assert column[70] is None


def test_a_replaced_recording_is_transcribed_again(own: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read(table(cache))[2]
    soundfile.write(own / "r3.wav", np.random.default_rng(9).normal(0, 0.1, 9000), 16_000)
    asked = config(own, cache, "corpus.transcripts=asr")
    with pytest.raises(UserError, match=r"recordings changed since they were transcribed: r3\.wav"):
        load_corpus(asked)
    outcome = transcribe.run(config(own, cache), Console())
    assert outcome.units_done_now == outcome.units  # it is in each of them
    assert "recordings changed since they were transcribed: r3.wav" in capsys.readouterr().err
    changed = [i for i, (old, new) in enumerate(zip(before, read(table(cache))[2], strict=True)) if old != new]
    assert changed == [i for i in range(ROWS) if i % RECORDINGS == 3 and i not in (70, 71)]
    load_corpus(asked)


def test_damage_is_seen_and_done_again(corpus: Path, whole: Path, cache: Path) -> None:
    flip(table(cache), 200)
    with pytest.raises(UserError, match="damaged"):
        load_corpus(config(corpus, cache, "corpus.transcripts=asr"))
    assert run(corpus, cache).units_done_now == -(-ROWS // UNIT)
    assert files(cache) == files(whole)
    # A unit of a run that did not end.
    spec, ids, rows = read(table(cache))
    table(cache).unlink()
    store = TranscriptStore(cache / "table", spec, ids)
    for number in range(3):
        store.commit(number, [rows[i] for i in store.rows(number)])
    flip(sorted(cache.glob("table/*.parts/*.json"))[1], 100)
    assert run(corpus, cache).units_done_now == -(-ROWS // UNIT) - 2
    assert files(cache) == files(whole)


def test_whose_words_the_text_is(corpus: Path, cache: Path) -> None:
    machine = [one.text for one in read(table(cache))[2]]
    human = load_corpus(config(corpus, cache)).corpus
    assert "text_origin" not in human.columns()
    own = human.column("text")
    origin = read(table(cache))[0].origin

    asr = load_corpus(config(corpus, cache, "corpus.transcripts=asr"))
    assert asr.corpus.column("text") == machine
    assert asr.corpus.column("text_human") == own
    assert set(asr.corpus.column("text_origin")) == {origin, None}
    assert asr.ledger.entries["not transcribed"] == ["u0070"]

    fill = load_corpus(config(corpus, cache, "corpus.transcripts=fill"))
    assert fill.corpus.column("text") == [a if a is not None else b for a, b in zip(own, machine, strict=True)]
    assert fill.corpus.column("text_origin")[:3] == ["human", "human", origin]
    assert fill.corpus.column("text_human") == own
    # What training depends on besides the features is the same.
    assert human.label_hash() == asr.corpus.label_hash() == fill.corpus.label_hash()


@pytest.mark.parametrize("copy", ["{} (1).parquet", "{}.sync-conflict-20260101.parquet"])
def test_a_copy_of_a_table_under_another_name_is_no_table(corpus: Path, cache: Path, copy: str) -> None:
    own = table(cache)
    shutil.copy(own, own.with_name(copy.format(own.stem)))
    loaded = load_corpus(config(corpus, cache, "corpus.transcripts=asr"))
    assert loaded.corpus.column("text") == [one.text for one in read(own)[2]]
    assert [one.name for one in tables(own.parent, loaded.corpus)] == [own.stem]


def test_a_table_that_can_t_be_read_blocks_no_other(corpus: Path, cache: Path) -> None:
    own = table(cache)
    foreign = own.with_name("transcripts-old-00000000.parquet")
    foreign.write_bytes(b"")
    loaded = load_corpus(config(corpus, cache, "corpus.transcripts=asr"))
    assert loaded.corpus.column("text") == [one.text for one in read(own)[2]]
    assert any("not read" in note and foreign.name in note for note in loaded.ledger.notes)
    own.unlink()
    with pytest.raises(UserError, match=f"{foreign.name} is damaged"):
        load_corpus(config(corpus, cache, "corpus.transcripts=asr"))


def test_cache_lists_transcripts_and_keeps_what_was_made_of_them(corpus: Path, cache: Path, run_cache: Run) -> None:
    name, where = table(cache).stem, ("--features", cache)
    made = {}
    for whose in ("asr", "fill", "human"):
        words = config(corpus, cache, f"corpus.transcripts={whose}", "features.speech=none")
        made[whose] = stage.run(words, QUIET)[0].location.name
    assert len(set(made.values())) == 3
    (listed,) = json.loads(run_cache("ls", *where, "--json"))
    assert {one["name"]: one["state"] for one in listed["features"]} == {
        made["asr"]: "aside", made["fill"]: "aside", made["human"]: "current",
    }  # fmt: skip
    (about,) = listed["transcripts"]
    assert (about["name"], about["state"]) == (name, "current")
    assert about["counts"] == {"ok": ROWS - 2, "failed": 1, "absent": 1}
    said = run_cache("ls", *where)
    assert f"transcripts, {about['origin']}; {ROWS - 2} ok, 1 failed, 1 absent" in said
    assert f"of words that are not in force: {about['origin']}, fill" in said

    assert "nothing to delete" in run_cache("gc", *where, "--yes")
    stage.run(config(corpus, cache, "corpus.transcripts=asr", "features.speech=none"), QUIET)
    assert "nothing to delete" in run_cache("gc", *where, "--yes")  # now the human words are not in force

    assert "no such table" in run_cache("gc", *where, "--transcripts", "whisper", "--yes", code=2)
    done = run_cache("gc", *where, "--transcripts", NAME, "--yes")
    assert "1 feature sets and 1 tables of transcripts deleted" in done
    assert not list(cache.glob("table/transcripts-*"))
    left = {path.name for path in (cache / "table").glob("*.zarr")}
    assert left == {made["asr"], made["human"]}  # what is in force, and what can be again


def test_run_transcribes_what_the_pipeline_asks_for(amber: Amber, own: Path, whole: Path, tmp_path: Path) -> None:
    rows = UNIT + 2
    (own / "table.csv").write_text("\n".join((own / "table.csv").read_text().splitlines()[: rows + 1]) + "\n")
    cache, runs, pipeline = tmp_path / "cache", tmp_path / "runs", tmp_path / "p.yaml"
    pipeline.write_text(
        f"corpus: {{dataset: table, root: {own}, transcripts: fill}}\ntranscribe: {{model: {own / NAME}}}\n"
        f"features: {{cache: {cache}, speech: none}}\nsplits: {{k: 3}}\n"
        f"labels: {{classes: {{joy: [joy], other: [grief]}}, subset: any}}\n"
        f"train: {{runs: {runs}, variants: [text, prior], seeds: [0], epochs: 1}}\n"
    )
    planned = amber("run", pipeline, "--dry-run").stdout
    assert "0 of 2 units done" in planned
    assert "extract table: transcripts come first" in planned
    assert not cache.exists()
    assert "table: note: text: gaps filled by" in amber("run", pipeline, "--set", ONE).stderr
    heard = [one.text for one in read(table(cache))[2]]
    assert heard == [one.text for one in read(table(whole))[2]][:rows]
    again = amber("run", pipeline, "--set", ONE).stderr
    assert "transcripts-" not in again
    assert "all done" in again
    table(cache).unlink()  # it alone is done again: what follows from it is current
    last = amber("run", pipeline, "--set", ONE).stderr
    assert "(2 of 2 units done now)" in last
    assert "all done" in last


def test_what_can_t_be_decided_is_refused(amber: Amber, corpus: Path, own: Path, cache: Path) -> None:
    extract = ("extract", "--dataset", "table", "--speech", "logmel", "--text", "minilm", "--features", cache)
    asked = ("--set", "corpus.transcripts=asr")
    said = amber(*extract, "--root", corpus, "--name", "other", *asked, code=2).stderr
    assert "no finished transcripts" in said
    assert "amber transcribe --model" in said
    transcribe.run(config(corpus, cache, "features.max_seconds=5"), QUIET)
    said = amber(*extract, "--root", corpus, *asked, code=2).stderr
    assert "holds several" in said
    name = said.rsplit("=", 1)[1].strip()
    assert len(load_corpus(config(corpus, cache, "corpus.transcripts=asr", f"transcribe.model={name}")).corpus) == ROWS
    rows = (own / "table.csv").read_text().splitlines()
    (own / "table.csv").write_text("\n".join(f"{row},{'text_human' if not i else 'x'}" for i, row in enumerate(rows)))
    said = amber(*extract, "--root", own, *asked, code=2).stderr
    assert "own column 'text_human'" in said
    assert "say which recogniser" in amber("transcribe", "--dataset", "demo", "--features", cache, code=2).stderr


def test_too_many_failures_end_it_and_keep_the_rest(own: Path, tmp_path: Path) -> None:
    for i in range(1, RECORDINGS):
        (own / f"r{i}.wav").unlink()
    with pytest.raises(RunFailure, match=r"utterances failed, more than --max-failures 0\.01 allows"):
        run(own, tmp_path)
    assert parts(tmp_path) == 1


@pytest.mark.skipif(not WHISPER.is_dir(), reason="whisper-tiny.en and CREMA-D are not here: ../shared/data")
def test_crema_d_by_machine_and_by_hand(amber: Amber, tmp_path: Path) -> None:
    root, cache = tmp_path / "CREMA-D", tmp_path / "cache"
    (root / "processedResults").mkdir(parents=True)
    (root / "AudioWAV").mkdir()
    for name in ("tabulatedVotes.csv", "summaryTable.csv"):
        shutil.copyfile(SHARED / "crema-d" / name, root / "processedResults" / name)
    shutil.copyfile(SHARED / "crema-d" / "VideoDemographics.csv", root / "VideoDemographics.csv")
    for clip in sorted((SHARED / "crema-d" / "flac").glob("*.flac")):
        signal, rate = soundfile.read(clip, dtype="int16")
        soundfile.write(root / "AudioWAV" / f"{clip.stem}.wav", signal, rate, subtype="PCM_16")
    corpus = ("--dataset", "crema-d", "--root", root, "--features", cache)
    done = json.loads(amber("-q", "transcribe", *corpus, "--model", WHISPER, "--json").stdout)
    assert (done["counts"]["ok"], done["counts"]["absent"]) == (12, 7430)
    # "Don't forget a jacket", 4 words a clip: right in 4 of the 12, with 2 errors or 3 in the others.
    assert (done["wer"]["words"], done["wer"]["utterances"]) == (48, 12)
    assert done["wer"]["errors"] == pytest.approx(22, abs=4)  # the last digits of another machine may tip a word

    encoders = ("--speech", "logmel", "--text", "minilm")
    amber("-q", "extract", *corpus, *encoders)
    amber("-q", "extract", *corpus, *encoders, "--set", "corpus.transcripts=asr")
    written = Corpus.read(cache / "crema-d" / "utterances.parquet")
    heard = {row["id"]: row for row in written.table.to_pylist() if row["text"] is not None}
    assert len(heard) == 12
    assert heard["1001_DFA_ANG_XX"]["text"] == "Don't forget a jacket!"
    assert heard["1001_DFA_ANG_XX"]["text_human"] == "Don't forget a jacket"
    assert heard["1001_DFA_ANG_XX"]["text_origin"] == done["origin"]
    sets = [store for store in feature_sets(cache, "crema-d") if store.spec.modality == "text"]
    assert len(sets) == 2
    assert sorted(store.counts()["ok"] for store in sets) == [12, 7442]
    assert len({store.spec.inputs for store in sets}) == 2
