"""A model's heads as one ONNX graph: pooled features in, distributions out, for use without amber or torch.

Inputs are `speech_features` and `text_features`, float32 (n, L, D): what the cache stores of level *pooled*, not
scaled, in the layers that `bundle.json` names. Outputs are `student` and the experts by name, float32 (n, C), in the
order of the metadata `classes`. Scaling, choice of layers, heads, the pool of candidates and the mean over members
are inside. An ONNX graph reads all of its inputs: where a modality is missing, zeros serve, and only the other one's
expert counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amber.config import HeadName
from amber.corpus import Modality
from amber.errors import UserError
from amber.features.catalog import pick_layers
from amber.features.spec import FeatureSpec
from amber.train.head_names import inputs_of, read_by
from amber.train.heads import GATE_SPEED
from amber.train.matrix import TRAINED
from amber.train.saved import SavedCandidate, SavedModel
from amber.train.scaling import Scaling

FILE = "heads.onnx"
OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # of that opset: older runtimes read it, too
EPSILON = 1e-5  # torch's, of a layer normalisation
LARGEST = 2**31 - 1  # bytes of one file, by Protocol Buffers


def write(path: Path, members: Sequence[SavedModel]) -> None:
    """Write the mean of an ensemble's distributions as an ONNX file.

    Raises
    ------
    UserError
        If onnx is not installed, the model has no such form (frames, a kernel, a constant), or it is too large.

    """
    try:
        import onnx
    except ImportError:
        raise UserError("--onnx needs the package onnx: pip install '.[onnx]'") from None
    _check(members)
    graph = Graph()
    first = members[0]
    found = [_member(graph, member, number) for number, member in enumerate(members)]
    for head in found[0]:
        graph.add("Mean", [one[head] for one in found], output=head)
    tensor, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    inputs = [
        tensor(f"{m}_features", float32, ["n", len(spec.layers), _dim(first, m)])
        for m, spec in first.specs.items()
        if m in _read(first)
    ]
    outputs = [tensor(head, float32, ["n", len(first.classes)]) for head in found[0]]
    size = sum(value.nbytes for value in graph.constants.values())
    if size > LARGEST:
        raise UserError(f"--onnx: {size >> 20} MB, and an ONNX file holds 2048; export a variant with fewer runs")
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node(op, ins, [out], **more) for op, ins, out, more in graph.nodes],
            "amber",
            inputs,
            outputs,
            [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="amber",
    )
    onnx.helper.set_model_props(model, {"classes": json.dumps(list(first.classes), ensure_ascii=False)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


@dataclass
class Graph:
    """Nodes and constants of a graph under construction; values are referred to by name."""

    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    def add(self, op: str, inputs: Iterable[str], output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = output or f"{op}_{len(self.nodes)}"
        self.nodes.append((op, list(inputs), name, attributes))
        return name

    def constant(self, value: Any) -> str:
        """Add a constant, float32 unless it is of integers; return its name."""
        array = np.asarray(value)
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array if array.dtype == np.int64 else np.ascontiguousarray(array, dtype=np.float32)
        return name

    def times(self, x: str, value: Any) -> str:
        """Multiply by a constant."""
        return self.add("Mul", [x, self.constant(value)])

    def linear(self, x: str, weight: Any) -> str:
        """Multiply (n, D) by a constant matrix (D, W)."""
        return self.add("MatMul", [x, self.constant(weight)])

    def total(self, values: Sequence[str]) -> str:
        """Add values, which broadcast."""
        return self.add("Sum", values)


def _check(members: Sequence[SavedModel]) -> None:
    """Refuse what has no such graph."""
    first = members[0]
    for modality, spec in first.specs.items():
        if spec.level == "frames":
            raise UserError(f"--onnx: the model reads frames of {modality}; only pooled features can be exported")
    for member in members:
        if member.kind not in TRAINED and {"prior", "support"} & set(member.candidates[0].state):
            raise UserError(
                f"--onnx: {member.kind} has no ONNX graph (a constant, or a kernel); export it without --onnx"
            )


def _read(model: SavedModel) -> list[Modality]:
    heads: Sequence[HeadName] = model.heads if model.kind in TRAINED else [model.student]
    return list(inputs_of(heads))


def _dim(model: SavedModel, modality: Modality) -> int:
    """Return D, which every scaling ends with."""
    return int(next(c.scalings[modality].mean.shape[-1] for c in model.candidates if modality in c.scalings))


def _member(graph: Graph, model: SavedModel, number: int) -> dict[str, str]:
    """Add one model; return its distributions (n, C) by head, as `SavedModel.predict` names them."""
    scaled: dict[tuple[Modality, str], str] = {}
    read = [_inputs(graph, model.specs, candidate, _read(model), scaled) for candidate in model.candidates]
    if model.kind not in TRAINED:
        return {"student": _rival(graph, model, read[0])}
    log_p = {
        head: [_head(graph, head, candidate, x) for candidate, x in zip(model.candidates, read, strict=True)]
        for head in model.heads
    }
    found = {}
    for head, values in log_p.items():
        name = "student" if head == model.student and model.kind != "pool" else head
        found[name] = _pool(graph, values, [candidate.weights[name] for candidate in model.candidates])
    if model.kind == "pool":
        every = [value for values in log_p.values() for value in values]
        weights = [candidate.weights["student"][head] for head in log_p for candidate in model.candidates]
        found["student"] = _pool(graph, every, weights)
    return found


def _pool(graph: Graph, log_p: Sequence[str], weights: Sequence[float]) -> str:
    """Add the geometric pool of log-probabilities (n, C); return a distribution."""
    scores = graph.total([graph.times(one, weight) for one, weight in zip(log_p, weights, strict=True)])
    return graph.add("Softmax", [scores], axis=-1)


def _inputs(
    graph: Graph,
    specs: Mapping[Modality, FeatureSpec],
    candidate: SavedCandidate,
    modalities: Sequence[Modality],
    scaled: dict[tuple[Modality, str], str],
) -> dict[Modality, str]:
    """Add a candidate's scaled inputs, (n, D), or (n, L, D) where layers are learned; alike ones of a model once."""
    for modality in modalities:
        choice = candidate.layers[modality]
        if (modality, str(choice)) not in scaled:
            chosen = _chosen(graph, f"{modality}_features", choice, specs[modality])
            scaled[modality, str(choice)] = _scaled(graph, chosen, candidate.scalings[modality])
    return {m: scaled[m, str(candidate.layers[m])] for m in modalities}


def _chosen(graph: Graph, x: str, choice: Any, spec: FeatureSpec) -> str:
    """Add the choice of layers: (n, L, D) -> (n, D), or all."""
    if choice == "mean":
        return graph.add("ReduceMean", [x], axes=[1], keepdims=0)
    if choice in ("all", "learned"):
        return x
    (number,) = pick_layers(choice, spec)
    return graph.add("Gather", [x, graph.constant(np.int64(spec.layers.index(number)))], axis=1)


def _scaled(graph: Graph, x: str, scaling: Scaling) -> str:
    """Add `Scaling.apply`."""
    centred = graph.add("Sub", [x, graph.constant(scaling.mean)])
    standard = graph.add("Div", [centred, graph.constant(scaling.std)])
    ones = graph.constant(np.ones(scaling.mean.shape[-1]))
    normal = graph.add("LayerNormalization", [standard, ones], axis=-1, epsilon=EPSILON)
    if scaling.projection is None:
        return normal
    flat = graph.add("Flatten", [normal], axis=1)
    return graph.linear(flat, scaling.projection) if scaling.projection.size else flat


def _head(graph: Graph, head: str, candidate: SavedCandidate, read: Mapping[Modality, str]) -> str:
    """Add one head of a candidate (`Head` or `Mixture`); return log-probabilities (n, C)."""
    state = {name: value.numpy() for name, value in candidate.state.items()}
    x = {m: _vector(graph, read[m], state.get(f"mix.{m}")) for m in read_by(head, candidate.reads)}
    prefix = f"heads.{head}."
    if not (candidate.mixture and len(x) > 1):
        return _plain(graph, prefix, state, x)
    gates = [graph.linear(x[m], state[f"{prefix}gate.{m}"]) for m in x]
    scores = graph.total([*gates, graph.constant(GATE_SPEED * state[f"{prefix}gate_bias"])])
    gate = graph.add("LogSoftmax", [scores], axis=-1)  # (n, M)
    axis = graph.constant(np.array([1], dtype=np.int64))
    experts = [graph.add("Unsqueeze", [_plain(graph, f"{prefix}experts.{m}.", state, {m: x[m]}), axis]) for m in x]
    log_p = graph.add("Concat", experts, axis=1)  # (n, M, C)
    weighed = graph.total([log_p, graph.add("Unsqueeze", [gate, graph.constant(np.array([2], dtype=np.int64))])])
    return graph.add("ReduceLogSumExp", [weighed], axes=[1], keepdims=0)


def _vector(graph: Graph, x: str, mix: Any) -> str:
    """Add the learned mixture of layers, if there is one: (n, L, D) -> (n, D)."""
    if mix is None:
        return x
    weights = np.exp(mix - mix.max())
    weighed = graph.times(x, (weights / weights.sum())[:, None])
    return graph.add("ReduceSum", [weighed, graph.constant(np.array([1], dtype=np.int64))], keepdims=0)


def _plain(graph: Graph, prefix: str, state: Mapping[str, Any], x: Mapping[Modality, str]) -> str:
    """Add a `Head`: a linear one, or a perceptron."""
    parts = [graph.linear(value, state[f"{prefix}weight1.{m}"]) for m, value in x.items()]
    h = graph.total([*parts, graph.constant(state[f"{prefix}bias1"])])
    if f"{prefix}weight2" in state:
        above = graph.add("Add", [graph.add("Erf", [graph.times(h, 2**-0.5)]), graph.constant(1.0)])
        gelu = graph.times(graph.add("Mul", [h, above]), 0.5)
        h = graph.add("Add", [graph.linear(gelu, state[f"{prefix}weight2"]), graph.constant(state[f"{prefix}bias2"])])
    return graph.add("LogSoftmax", [h], axis=-1)


def _rival(graph: Graph, model: SavedModel, read: Mapping[Modality, str]) -> str:
    """Add a baseline without a kernel (`rivals.probabilities`)."""
    state = {name: value.numpy() for name, value in model.candidates[0].state.items()}
    x = graph.add("Concat", [graph.add("Flatten", [value], axis=1) for value in read.values()], axis=1)
    if "hidden_weight" in state:
        hidden = graph.total([graph.linear(x, state["hidden_weight"]), graph.constant(state["hidden_bias"])])
        x = graph.add("Relu", [hidden])
    scores = graph.total([graph.linear(x, state["weight"]), graph.constant(state["bias"])])
    return graph.add("Softmax", [scores], axis=-1)
