"""MediaPipe BlazeFace (Bazarevsky et al. 2019) under ONNX Runtime: images -> candidates -> faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from agewise.faces.face import Face

WEIGHTS = Path(__file__).parent / "weights" / "blazeface.onnx"
STRIDES = ((16, 2), (32, 6))
"""Pixels between the anchors of each output, and how many anchors share a place."""
MOUTH = 0.83
"""Mouth width in eye distances: BlazeFace gives the mouth's centre, and corners are placed around it."""


class BlazeFace:
    """The network with the weights that the package ships. threads: of ONNX Runtime; 0 is one a core."""

    def __init__(self, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False  # photos differ in shape, and each new one would be paid for twice
        self._session = onnxruntime.InferenceSession(WEIGHTS, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: NDArray[np.uint8], threshold: float) -> list[NDArray[np.float64]]:
        """Candidates (K, 17) of each of N images (N, H, W, 3), both sides multiples of 32: box, six points, score."""
        names = [f"{kind}_{stride}" for stride, _ in STRIDES for kind in ("scores", "boxes")]
        raw = self._session.run(names, {"image": images})
        found = []
        for number in range(len(images)):
            outputs = [(raw[2 * index][number, :, 0], raw[2 * index + 1][number]) for index in range(len(STRIDES))]
            found.append(_candidates(outputs, images.shape[2], threshold))
        return found


def _candidates(
    outputs: list[tuple[NDArray[np.float32], NDArray[np.float32]]], width: int, threshold: float
) -> NDArray[np.float64]:
    """Of one image of that width: logits (A,) and boxes (A, 16) of each stride -> (K, 17), the likely ones."""
    parts = []
    for (stride, repeats), (logits, values) in zip(STRIDES, outputs, strict=True):
        likely = np.flatnonzero(logits > np.log(threshold / (1 - threshold)))
        columns = width // stride
        cell = likely // repeats
        anchors = (np.stack([cell % columns, cell // columns], axis=1) + 0.5) * stride
        points = values[likely].reshape(-1, 8, 2).astype(np.float64)
        centre, half = points[:, 0] + anchors, points[:, 1] / 2
        keypoints = points[:, 2:] + anchors[:, None]
        box = np.concatenate([centre - half, centre + half], axis=1)
        score = 1 / (1 + np.exp(-logits[likely].astype(np.float64)))
        parts.append(np.concatenate([box, keypoints.reshape(-1, 12), score[:, None]], axis=1))
    return np.concatenate(parts)


def keep_best(candidates: NDArray[np.float64], overlap: float = 0.3) -> list[Face]:
    """Non-maximum suppression of candidates (K, 17) that averages what overlaps, weighted by score."""
    boxes = candidates[:, :4]
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)
    rest = np.argsort(-candidates[:, -1])
    faces = []
    while len(rest):
        best = rest[0]
        corner = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(corner, 0.0), axis=1)
        union = area[best] + area[rest] - shared
        inside = shared / np.maximum(np.minimum(area[best], area[rest]), 1e-9)
        same = (shared / np.maximum(union, 1e-9) > overlap) | (inside > 0.7)
        same[0] = True
        group = candidates[rest[same]]
        close = shared[same] / np.maximum(union[same], 1e-9) > 0.5
        close[0] = True
        mean = np.average(group[close, :-1], axis=0, weights=group[close, -1])
        faces.append(_face(mean, float(group[0, -1])))
        rest = rest[~same]
    return sorted(faces, key=lambda face: -face.size)


def _face(values: NDArray[np.float64], score: float) -> Face:
    eye, other, nose, mouth = values[4:12].reshape(4, 2)
    half = (other - eye) * (MOUTH / 2)
    box = (float(values[0]), float(values[1]), float(values[2]), float(values[3]))
    return Face(box, score, np.stack([eye, other, nose, mouth - half, mouth + half]))
