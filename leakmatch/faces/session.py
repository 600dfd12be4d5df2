"""onnxruntime sessions, opened one way: from verified bytes, on one thread, quietly."""

from __future__ import annotations

from typing import Any

import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.errors import IntegrityError

_ERRORS_ONLY = 3  # onnxruntime's severity scale: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal


class Session:
    """One model, ready to run.

    ``model`` is the content of an ONNX file whose digest was checked: a path would be read a second time and could
    have changed in between. Raises :class:`IntegrityError` if onnxruntime does not accept it.
    """

    def __init__(self, model: bytes, name: str) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        try:
            self._session = onnxruntime.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
        # onnxruntime raises a dozen unrelated classes for a file that it cannot take.
        except Exception as error:
            raise IntegrityError(f"{name}: onnxruntime does not accept this model ({_first_line(error)}).") from error
        self._name = name
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise IntegrityError(f"{name}: a model with one input is needed; this one has {len(inputs)}.")
        self._input = inputs[0].name
        self.input_shape: tuple[int | str | None, ...] = tuple(inputs[0].shape)
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, blob: FloatArray) -> list[FloatArray]:
        """The model's outputs for ``blob`` float32[N,3,H,W], in the order of :attr:`outputs`.

        Raises :class:`IntegrityError` if the model does not take an input of this shape.
        """
        try:
            found: list[FloatArray] = self._session.run(None, {self._input: np.ascontiguousarray(blob, np.float32)})
        except Exception as error:
            raise IntegrityError(
                f"{self._name}: cannot be run on an input of shape {blob.shape} ({_first_line(error)})."
            ) from error
        return found


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Work is spread over processes, so a session keeps to its own thread and never spins on a core it waits for.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A memory pattern is kept for each input shape ever seen: memory would grow with the variety of pictures.
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    return options


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
