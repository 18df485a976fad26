"""Which encoder, which layer: one experiment per speech encoder, every variant on each of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from amber.config import Config, ModelName, VariantOptions
from amber.features.spec import FeatureSpec, slug


def experiments(config: Config, name: str, specs: Sequence[FeatureSpec]) -> list[Config]:
    """Return the configuration of each encoder's experiment.

    Parameters
    ----------
    config
        What they have in common, with `features.encoders`.
    name
        Of the whole comparison; experiments are called `<name>-<encoder>`.
    specs
        The encoders' feature sets. Of a set with several layers, every variant is trained as it is, on each layer, and
        on a learned mixture of them where they are pooled.

    """
    slugs = [slug(spec.encoder) for spec in specs]
    found = []
    for spec, encoder in zip(specs, slugs, strict=True):
        features = config.features.model_copy(update={"encoders": [], "speech": spec.name})
        full = f"{name}-{encoder}" if slugs.count(encoder) == 1 else f"{name}-{encoder}-{spec.key}"
        on_layers = _on_layers(config, spec)
        train = config.train.model_copy(update={"variants": [*config.train.variants, *on_layers]})
        update = {"features": features, "experiment": full, "train": train}
        found.append(config.model_copy(update={**update, "variants": {**config.variants, **on_layers}}))
    return found


def _on_layers(config: Config, spec: FeatureSpec) -> dict[str, VariantOptions]:
    """Return every variant on each layer of a set that has several, by name."""
    if len(spec.layers) < 2:
        return {}
    found = {}
    for variant in config.train.variants:
        for layer in spec.layers:
            found[f"{variant}-layer{layer}"] = VariantOptions(base=variant, train={"layer": {"speech": layer}})
        if spec.level == "pooled" and variant not in get_args(ModelName):  # baselines learn no layers
            found[f"{variant}-learned"] = VariantOptions(base=variant, train={"layer": {"speech": "learned"}})
    return found
