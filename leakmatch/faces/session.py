"""Sessions that run a model: opened one way, from verified bytes, on one thread, quietly.

Work is spread over processes, so a session keeps to the thread that calls it: no pool, no spinning on a core that
another worker needs. Pictures pass one at a time: with the models here a larger batch gains nothing
(docs/models.md), and memory does not depend on what a photo holds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Final, Protocol

import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.faces.graph import BATCH
from leakmatch.ort import one_thread, onnxruntime, openvino

ONNXRUNTIME: Final = "onnxruntime"
OPENVINO: Final = "openvino"

Shape = tuple[int | str | None, ...]


class Session(Protocol):
    """One model with one input, ready to run. ``outputs``: their names, in order. Free sizes are not numbers."""

    input_shape: Shape
    outputs: tuple[str, ...]

    def run(self, blob: FloatArray) -> list[FloatArray]:
        """The model's outputs for ``blob`` float32[1,3,H,W], in the order of :attr:`outputs`.

        Raises :class:`IntegrityError` if the model does not take an input of this shape.
        """


def open_session(model: bytes, name: str, engine: str = ONNXRUNTIME) -> Session:
    """A session of ``engine``, one of the two above. ``name`` is what errors call the model.

    ``model`` is the content of an ONNX file whose digest was checked: a path would be read a second time and could
    have changed in between. Raises :class:`IntegrityError` if the engine does not accept it, :class:`UsageError`
    if the engine is not installed.
    """
    return OpenVinoSession(model, name) if engine == OPENVINO else OnnxSession(model, name)


def installed(engine: str) -> str | None:
    """The version of ``engine`` on this machine, ``None`` where it is not installed."""
    if importlib.util.find_spec(engine) is None:
        return None
    return importlib.metadata.version(engine)


class OnnxSession:
    """A :class:`Session` on onnxruntime's CPU provider."""

    def __init__(self, model: bytes, name: str) -> None:
        options = one_thread()
        options.add_free_dimension_override_by_name(BATCH, 1)
        try:
            self._session = onnxruntime().InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # onnxruntime raises a dozen unrelated classes for a file that it cannot take.
        except Exception as error:
            raise _not_accepted(name, ONNXRUNTIME, error) from error
        self._name = name
        inputs = self._session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        _check_inputs(name, len(inputs))
        self.input_shape: Shape = tuple(inputs[0].shape)
        self.outputs = tuple(str(output.name) for output in self._session.get_outputs())

    def run(self, blob: FloatArray) -> list[FloatArray]:
        """See :meth:`Session.run`."""
        try:
            found: list[FloatArray] = self._session.run(None, {self._input: np.ascontiguousarray(blob, np.float32)})
        except Exception as error:
            raise _not_run(self._name, blob, error) from error
        return found


class OpenVinoSession:
    """A :class:`Session` on OpenVINO's CPU plugin, in float32."""

    def __init__(self, model: bytes, name: str) -> None:
        if installed(OPENVINO) is None:
            raise UsageError('OpenVINO is not installed. Install it with: pip install "leakmatch[openvino]"')
        ov = openvino()
        try:
            read = ov.Core().read_model(model)
            _check_inputs(name, len(read.inputs))
            shape = read.inputs[0].get_partial_shape()
            if shape.rank.is_static and len(shape) == 4:
                shape[0] = 1
                read.reshape(shape)
            self._request = ov.Core().compile_model(read, "CPU", _PROPERTIES).create_infer_request()
        except IntegrityError:
            raise
        except Exception as error:
            raise _not_accepted(name, OPENVINO, error) from error
        self._name = name
        self.input_shape: Shape = tuple(dim.get_length() if dim.is_static else None for dim in shape)
        self.outputs = tuple(output.get_any_name() for output in read.outputs)

    def run(self, blob: FloatArray) -> list[FloatArray]:
        """See :meth:`Session.run`."""
        try:
            found = self._request.infer({0: np.ascontiguousarray(blob, np.float32)})
        except Exception as error:
            raise _not_run(self._name, blob, error) from error
        return [np.array(found[number]) for number in range(len(self.outputs))]


#: Float32 throughout, whatever else the processor offers: templates of all machines must be comparable. Pinning would
#: put the one thread of every worker on the same core. OpenVINO uses a few threads while it compiles; they sleep after.
_PROPERTIES: Final = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}


def _check_inputs(name: str, count: int) -> None:
    if count != 1:
        raise IntegrityError(f"{name}: a model with one input is needed; this one has {count}.")


def _not_accepted(name: str, engine: str, error: Exception) -> IntegrityError:
    return IntegrityError(f"{name}: {engine} does not accept this model ({_first_line(error)}).")


def _not_run(name: str, blob: FloatArray, error: Exception) -> IntegrityError:
    return IntegrityError(f"{name}: cannot be run on an input of shape {blob.shape} ({_first_line(error)}).")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
