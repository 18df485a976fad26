"""Features are those that the configuration asks for: a set made by another value of a given key is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import demo_config
from test_store import spec

from amber.config_file import load
from amber.errors import UserError
from amber.train import stage
from amber.train.asked import refuse_other

TEXT = {"modality": "text", "encoder": "bert", "sample_rate": None, "max_seconds": None}
IMPORTED = {"pooling": "unknown", "precision": "unknown", "max_seconds": None}


def check(overrides: list[str], **of: Any) -> None:
    refuse_other(load(None, overrides).features, spec(**of))


@pytest.mark.parametrize(
    ("overrides", "of", "says"),
    [
        (["features.level=frames"], {}, "features.level is 'frames'"),
        (["features.level=frames"], IMPORTED, "has 'pooled'"),
        (["features.pooling=last"], TEXT, "features.pooling is 'last'"),
        (["features.text_instruction='query: '"], TEXT, "features.text_instruction is 'query: '"),
        (["features.text_context=3"], TEXT, "features.text_context is 3, and the cache's text set text-bert"),
        (["features.text_context=0"], {**TEXT, "text_context": 3}, "features.text_context is 0"),
        (["features.dtype=float32"], {"dtype": "float16"}, "features.dtype is 'float32'"),
        (["features.precision=bf16"], {}, "features.precision is 'bf16'"),
        (["features.layers=last"], {"layers": (0, 1)}, "features.layers is 'last'.* has '0,1'"),
        (["features.layers='1,2'"], {"layers": (0, 1, 2)}, "features.layers is '1,2'.* has '0,1,2'"),
        (["features.max_seconds=10"], {"max_seconds": 30.0}, "features.max_seconds is 10, .* has 30"),
        (["features.max_seconds=30"], {"max_seconds": 10.0}, "features.max_seconds is 30, .* has 10"),
        (["features.context=full"], {"encoder": "whisper-tiny", "margin": 0.5}, "features.context is 'full'"),
        (["features.context=trimmed"], {"encoder": "whisper-tiny"}, "features.context is 'trimmed'"),
        (["features.margin=1"], {"encoder": "whisper-tiny", "margin": 0.5}, "features.margin is 1, .* has 0.5"),
    ],
)
def test_another_value_of_a_given_key_is_refused(overrides: list[str], of: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=rf"{says}(.|\n)*run `amber extract` with this configuration, or leave the key"):
        check(overrides, **of)


@pytest.mark.parametrize(
    ("overrides", "of"),
    [
        ([], {**TEXT, "text_context": 3, "level": "frames", "pooling": "none", "dtype": "float32"}),
        (["features.text_context=3", "features.pooling=last"], {}),  # of texts alone
        (["features.text_context=3", "features.dtype=float32", "features.layers=last"], {**TEXT, **IMPORTED}),
        (["features.pooling=mean"], {**TEXT, "level": "frames", "pooling": "none"}),
        (["features.precision=auto"], {"precision": "bf16"}),
        (["features.layers=all"], {"layers": (3, 4)}),
        (["features.layers='2,1'"], {"layers": (1, 2)}),
        (["features.layers=last"], {"layers": (12,)}),
        (["features.max_seconds=10.01"], {"max_seconds": 10.0}),  # whole frames
        (["features.max_seconds=60"], {"max_seconds": 30.0}),  # Whisper hears no more
        (["features.max_seconds=10"], {"max_seconds": None}),
        (["features.context=trimmed"], {"encoder": "wav2vec2-base"}),
        (["features.context=trimmed", "features.margin=1"], {"encoder": "whisper-tiny", "margin": 1.0}),
    ],
)
def test_what_is_left_out_fits_or_can_t_be_told_is_taken(overrides: list[str], of: dict[str, Any]) -> None:
    check(overrides, **of)


def test_a_set_that_is_named_by_its_folder_is_the_one_that_is_meant() -> None:
    check([f"features.text={spec(**TEXT).name}", "features.text_context=3", "features.level=frames"], **TEXT)
    with pytest.raises(UserError, match=r"features\.level"):
        check([f"features.text={spec(**TEXT).name}", "features.level=frames"])


def test_training_is_refused_before_it_begins_and_a_key_of_what_is_not_read_is_not(
    demo_cache: Path, tmp_path: Path
) -> None:
    asked = (f"train.runs={tmp_path}", "features.text_context=3")
    with pytest.raises(UserError, match=r"features\.text_context is 3, and the cache's text set text-minilm.* has 0"):
        stage.plan(demo_config(demo_cache, *asked), None)
    assert stage.plan(demo_config(demo_cache, *asked, "train.variants=[speech]"), None)
