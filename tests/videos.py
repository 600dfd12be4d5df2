"""Videos made to measure, by PyAV."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from archives import Walked, checked
from numpy.typing import NDArray

from leakmatch.imaging.sniff import image_format
from leakmatch.locator import SOURCE, Locator
from leakmatch.records import Budget
from leakmatch.sources.scratch import Scratch
from leakmatch.sources.walk import walk

Frame = NDArray[np.uint8]

# Kind of container, as FFmpeg calls it, with the codec inside.
KINDS = {
    "mp4": ("mp4", "libx264"),
    "mov": ("mov", "mjpeg"),
    "3gp": ("3gp", "mpeg4"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx"),
    "avi": ("avi", "mpeg4"),
    "mpg": ("mpeg", "mpeg2video"),
    "ts": ("mpegts", "libx264"),
    "wmv": ("asf", "wmv2"),
    "flv": ("flv", "libx264"),
}


def scene(number: int, shift: int = 0, size: tuple[int, int] = (160, 120)) -> Frame:
    """A picture uint8[H,W,3] RGB unlike that of any other ``number``, moved aside by ``shift`` pixels."""
    width, height = size
    x, y = np.meshgrid(np.arange(width) + shift, np.arange(height))
    waves = [127 + 100 * np.sin(x / (7 + 5 * number + 3 * c) + number) * np.cos(y / (9 + 4 * c)) for c in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def video(frames: list[Frame], kind: str = "mp4", rate: int = 10, group: int = 20, turn: int = 0) -> bytes:
    """A video of ``frames`` uint8[H,W,3] RGB with a key frame at every ``group`` of them, or at a change of scene."""
    import av

    container, codec = KINDS[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.codec_context.thread_count = 1
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = group
        stream.codec_context.bit_rate = 2_000_000
        if turn:
            stream.set_display_rotation(turn)
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)
    return file.getvalue()


def seen(data: bytes, tmp_path: Path, budget: Budget | None = None) -> Walked:
    """The walk of a file with these bytes, in which pictures are known as in a scan."""
    path = tmp_path / "material"
    path.write_bytes(data)
    root = Locator.root(SOURCE, "material", b"material", 0)
    return checked(
        list(walk(path, root, budget or Budget(), lambda head: image_format(head) is not None, scratch=Scratch()))
    )
