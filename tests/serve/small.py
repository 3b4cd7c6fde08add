"""Whole models in kilobytes, made without training: real files for the real runtime, one for each kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Node = tuple[str, list[str], list[str], dict[str, Any]]

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
NUMBER = {"flag": False, "constant": False, "mean": 40.0, "std": 10.0, "dtype": "float32"}
STATE = {"kind": "category", "name": "State", "levels": ["BY", "HE"], "values": "text", "one_hot": False}
AGE = {"kind": "number", "name": "Age", "fill": 40.0, **NUMBER}
LATE = {"kind": "number", "name": "Late", "fill": 0.0, **NUMBER, "mean": 0.0, "std": 1.0, "boolean": True}

PREP: dict[str, dict[str, Any]] = {
    "table": {
        "columns": [STATE, AGE, LATE],
        "other": ["Target"],
        "cats": ["State"],
        "conts": ["Age", "Late"],
        "untrained": [],
        "constant": [],
    },
    "ratings": {
        "users": [7, 8],
        "items": ["a", "b"],
        "users_untrained": [],
        "items_untrained": [2],
        "names": ["user", "item"],
    },
    "texts": {
        "tokenize": "characters",
        "lang": "en",
        "lower": True,
        "markers": False,
        "itos": ["<unk>", "<pad>", *"\nabcdefghij "],
        "max_len": 50,
        "backwards": False,
    },
    "pictures": {"sz": 4, "mean": [0.5] * 3, "std": [0.2] * 3, "crop": "center", "max_value": None},
}
INPUTS: dict[str, dict[str, tuple[int, list[Any]]]] = {
    "table": {"cats": (INT, ["batch", 1]), "conts": (FLOAT, ["batch", 2])},
    "ratings": {"users": (INT, ["batch"]), "items": (INT, ["batch"])},
    "texts": {"tokens": (INT, ["length", "batch"])},
    "pictures": {"pixels": (FLOAT, ["batch", 3, 4, 4])},
}
NODES: dict[str, list[Node]] = {
    "table": [
        ("Cast", ["cats"], ["codes"], {"to": FLOAT}),
        ("Concat", ["codes", "conts"], ["x"], {"axis": 1}),
        ("MatMul", ["x", "w"], ["scores"], {}),
        ("Softmax", ["scores"], ["predictions"], {"axis": 1}),
    ],
    "ratings": [("Add", ["users", "items"], ["sum"], {}), ("Cast", ["sum"], ["predictions"], {"to": FLOAT})],
    "texts": [
        ("Cast", ["tokens"], ["numbers"], {"to": FLOAT}),
        ("ReduceMean", ["numbers"], ["mean"], {"axes": [0], "keepdims": 0}),
        ("Reshape", ["mean", "column"], ["x"], {}),
        ("MatMul", ["x", "w"], ["scores"], {}),
        ("Sigmoid", ["scores"], ["predictions"], {}),
    ],
    "pictures": [
        ("Flatten", ["pixels"], ["x"], {}),
        ("MatMul", ["x", "w"], ["scores"], {}),
        ("Softmax", ["scores"], ["predictions"], {"axis": 1}),
    ],
}
TASKS = {"table": "category", "ratings": "value", "texts": "multi", "pictures": "category"}
SIZES = {"table": 3, "texts": 1, "pictures": 48}


def meta_of(kind: str) -> dict[str, Any]:
    """Return what stands beside the network."""
    task = TASKS[kind]
    return {
        "format": 1,
        "learnkit": "0.1.0",
        "created": "2026-11-27T08:10:00+00:00",
        "kind": kind,
        "task": task,
        "classes": None if task == "value" else ["no", "yes"],
        "threshold": 0.5,
        "prep": PREP[kind],
    }


def network_of(kind: str) -> onnx.ModelProto:
    """Return the network alone."""
    weights = {"column": np.array([-1, 1], np.int64)} if kind == "texts" else {}
    if kind in SIZES:
        weights["w"] = np.random.default_rng(0).normal(size=(SIZES[kind], 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, **options) for op, inputs, outputs, options in NODES[kind]],
        kind,
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in INPUTS[kind].items()],
        [helper.make_tensor_value_info("predictions", FLOAT, None)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def file_of(kind: str, meta: Any = None) -> bytes:
    """Return the whole file; `meta` is written as it is where it is a text."""
    network = network_of(kind)
    meta = meta_of(kind) if meta is None else meta
    network.metadata_props.add(key="learnkit", value=meta if isinstance(meta, str) else json.dumps(meta))
    content: bytes = network.SerializeToString()
    return content
