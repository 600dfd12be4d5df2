"""Videos: a container whose members are frames, picked by scene and time (:mod:`leakmatch.sources.video.plan`).

PyAV brings FFmpeg's readers and decoders; docs/video.md says why. The format is named to it and never guessed, what it
asks for beside the file itself is refused, and it works in one thread. The file is read twice: once for the table of
its packets, once to decode what was planned. Nothing is sought, so the same bytes give the same frames.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, BinaryIO, Final

import numpy as np

from leakmatch.errors import ItemError
from leakmatch.scenes import SIDE, Keeper
from leakmatch.sources.guard import corrupt, encrypted, extra_missing, over_budget, truncated, unsupported
from leakmatch.sources.members import Container, Member, Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, FURTHEST
from leakmatch.sources.video.formats import DEMUXERS, is_cut_off
from leakmatch.sources.video.pictures import picture, pixel_shape, thumbnail
from leakmatch.sources.video.plan import Group, Table, plan, table

_BUFFER: Final = 256 << 10  # bytes that FFmpeg asks for at once
_MOST_PACKETS: Final = 4_000_000  # 37 hours at 30 frames a second; the table takes 9 bytes for each
_MOST_TRACKS: Final = 8

#: The largest frame. One of them and its copies in RGB fit a worker, and 8K (33 million) is below.
_MOST_PIXELS: Final = 36_000_000
#: Within a group a decoder holds up to 16 earlier frames, and more for itself: so large may they be together.
_HELD_FRAMES: Final = 20
_HELD_BYTES: Final = 320 << 20

_SAME_TIME: Final = 1e-6  # seconds
_ENCRYPTED_TAGS: Final = frozenset({"encv", "drmi"})


def open_video(opening: Opening) -> Container:
    """A reader of the frames of a video. Raises :class:`ItemError`, also where the package for videos is missing."""
    try:
        import av
    except ImportError as error:
        raise extra_missing("Videos", "video") from error
    av.logging.set_level(av.logging.PANIC)
    return _Video(opening, av)


@dataclass(frozen=True, slots=True)
class _Track:
    """A video track: its number among all tracks, its packets, pixels of a frame (0: no groups), its name's begin."""

    index: int
    packets: Table
    pixels: int
    prefix: str


class _Video:
    def __init__(self, opening: Opening, av: Any) -> None:
        self._opening = opening
        self._av = av
        self._size = opening.size
        self._failed = 0  # packets that could not be decoded
        self._kept = self._frames = 0
        self._limited = False  # frames were not kept for their number alone
        self._gap = 0.0  # the longest time between two frames that were decoded
        self.notes: list[Note] = []

    def members(self) -> Iterator[Member]:
        with self._file() as file:
            tracks: list[_Track] = []
            problem: ItemError | None = None
            with self._opened(file) as container:
                yield from self._beside(container)
            with self._opened(file) as container:
                tracks, problem = self._tracks(container)
            for track in tracks:
                with self._opened(file) as container:
                    yield from self._track(container, track, len(tracks))
            self._tell()
            cut = is_cut_off(self._opening.kind, file, self._size)
        if problem is not None:
            raise problem
        if cut:
            raise truncated("the video ends early")
        if self._frames and not self._kept:
            raise corrupt("no frame of the video could be decoded")
        if self._failed:
            raise truncated(f"{self._failed} places in the video could not be decoded")

    # The file, and nothing beside it

    @contextmanager
    def _file(self) -> Iterator[BinaryIO]:
        """The bytes, seekable at no cost: a nested video too large for memory is copied once to the scratch space."""
        opening = self._opening
        if opening.volumes.path is not None or isinstance(opening.file, io.BytesIO):
            yield opening.file
            return
        with opening.scratch.spool() as copy:
            opening.file.seek(0)
            while block := opening.file.read(CHUNK):
                copy.append(block)
            yield copy.stream()

    @contextmanager
    def _opened(self, file: BinaryIO) -> Iterator[Any]:
        file.seek(0)
        with (
            self._mapped(),
            self._av.open(
                _Bytes(file, self._opening.pulse),
                format=DEMUXERS[self._opening.kind],
                options={"threads": "1", "max_pixels": str(self._most_pixels)},
                container_options={"protocol_whitelist": "", "max_streams": "64"},
                buffer_size=_BUFFER,
                metadata_errors="replace",
                io_open=_refused,
            ) as container,
        ):
            yield container

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except self._av.error.FFmpegError as error:
            if is_cut_off(self._opening.kind, self._opening.file, self._size):
                raise truncated("the video ends before its table of contents") from error
            raise corrupt(f"the video cannot be read ({_words(error)})") from error

    @property
    def _most_pixels(self) -> int:
        return min(_MOST_PIXELS, self._opening.budget.pixels)

    # What there is

    def _beside(self, container: Any) -> Iterator[Member]:
        """Pictures of a cover, and files that were attached: fonts, and whatever somebody wanted to carry along."""
        covers = [stream for stream in container.streams.video if _is_cover(self._av, stream)]
        for packet in container.demux(covers[:_MOST_TRACKS]) if covers else ():
            if packet.size:
                yield _whole(f"cover {packet.stream_index}", bytes(packet))
        for stream in container.streams:
            if stream.type == "attachment":
                data = bytes(stream.data or b"")
                name = str(stream.name or "") or f"attachment {stream.index}"
                yield _whole(name, data)

    def _tracks(self, container: Any) -> tuple[list[_Track], ItemError | None]:
        """The tracks to look at, and why their packets could not be read to the end."""
        streams = [stream for stream in container.streams.video if not _is_cover(self._av, stream)]
        problem: ItemError | None = None
        if len(streams) > _MOST_TRACKS:
            problem = over_budget(f"it has {len(streams)} video tracks; {_MOST_TRACKS} were looked at")
            streams = streams[:_MOST_TRACKS]
        times = {stream.index: array("d") for stream in streams}
        keys = {stream.index: bytearray() for stream in streams}
        found = 0
        try:
            for packet in container.demux(streams) if streams else ():
                if not packet.size:
                    continue
                found += 1
                if found > _MOST_PACKETS:
                    problem = problem or over_budget(f"it has more than {_MOST_PACKETS} frames")
                    break
                if found % 1024 == 0:
                    self._opening.pulse()
                times[packet.stream_index].append(_seconds(packet))
                keys[packet.stream_index].append(packet.is_keyframe)
        except self._av.error.FFmpegError as error:
            problem = problem or truncated(f"the video can be read no further ({_words(error)})")
        several = len(streams) > 1
        tracks = []
        for number, stream in enumerate(streams):
            packets = table(
                np.array(times[stream.index], np.float64),
                np.frombuffer(bytes(keys[stream.index]), np.uint8).astype(bool),
                float(stream.average_rate or stream.guessed_rate or 0),
            )
            self._frames += len(packets.keys)
            tracks.append(_Track(stream.index, packets, _pixels(stream), f"track {number} " if several else ""))
        return tracks, problem

    # Frames

    def _track(self, container: Any, track: _Track, tracks: int) -> Iterator[Member]:
        stream = next(stream for stream in container.streams if stream.index == track.index)
        if (problem := self._unreadable(stream)) is not None:
            yield Member(b"", f"{track.prefix}video", 1, io.BytesIO, problem=problem)
            return
        budget = max(1, self._opening.budget.video_frames // tracks)
        planned = plan(track.packets, budget, track.pixels, self._size)
        keeper = Keeper(planned.step, budget)
        order = np.sort(track.packets.seconds)
        stored = max(1, self._size // budget)
        before = 0.0
        for frame, seconds, share in self._decoded(container, stream, track.packets, planned.groups):
            self._gap = max(self._gap, seconds - before)
            before = seconds
            if keeper.wants(thumbnail(frame, SIDE), seconds, share):
                number = max(0, int(np.searchsorted(order, seconds + 1e-6, "right")) - 1)
                self._kept += 1
                name = f"{track.prefix}frame {number} at {seconds:.3f} s"
                yield _member(name, partial(picture, frame, pixel_shape(stream), self._most_pixels), stored)
        self._gap = max(self._gap, track.packets.length - before)
        self._limited |= keeper.limited

    def _unreadable(self, stream: Any) -> ItemError | None:
        context = stream.codec_context
        if context is None:
            return unsupported("its video is in a codec that is not read")
        if str(getattr(context, "codec_tag", "")) in _ENCRYPTED_TAGS:
            return encrypted("its video is encrypted")
        if context.width * context.height > self._most_pixels:
            return over_budget(f"frames of {context.width} x {context.height} pixels are more than the budget allows")
        return None

    def _decoded(
        self, container: Any, stream: Any, packets: Table, groups: tuple[Group, ...]
    ) -> Iterator[tuple[Any, float, float]]:
        """The frames of every group in the order shown, each with its second and the share of the video behind it."""
        context = stream.codec_context
        context.thread_type, context.thread_count = "NONE", 1
        waiting = iter(groups)
        group = next(waiting, None)
        sound, shown = True, 0
        for at, packet in enumerate(self._packets(container, stream)):
            if group is None:
                return
            if at < group.start:
                continue
            if at == group.start:
                sound, shown = True, 0
            last = at == group.stop - 1
            frames: list[Any] = []
            if sound:
                frames, sound = self._sent(context, packet)
            if last:
                frames += self._sent(context, None)[0]
            for frame in frames:
                seconds = _shown_at(frame, stream.time_base, packets, group, shown)
                shown += 1
                # Frames of the group before may follow a key frame in the file, and cannot be decoded without it.
                if seconds >= packets.seconds[group.start] - _SAME_TIME:
                    yield frame, seconds, (at + 1) / len(packets.keys)
            if last:
                context.flush_buffers()
                group = next(waiting, None)

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """The packets of a track that hold something, as far as they can be read: the first reading told how far."""
        try:
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        except self._av.error.FFmpegError:
            return

    def _sent(self, context: Any, packet: Any) -> tuple[list[Any], bool]:
        """The frames that a packet gives (``None``: those still held), without damaged ones; whether all went well."""
        self._opening.pulse()
        try:
            frames = list(context.decode(packet))
        except self._av.error.EOFError:
            return [], True
        except (self._av.error.FFmpegError, ValueError):
            self._failed += 1
            return [], False
        good = [frame for frame in frames if not frame.is_corrupt and frame.width * frame.height <= self._most_pixels]
        self._failed += len(good) < len(frames)
        return good, True

    def _tell(self) -> None:
        if self._kept < self._frames:
            told = (
                f"{self._kept} of about {self._frames} frames kept to be looked at: "
                f"{'more would pass the budget' if self._limited else 'the others look much like them'}; "
                f"frames were compared at most {self._gap:.1f} s apart, and what is shown for less may be missed"
            )
            self.notes.append(Note("frames-sampled", told))


class _Bytes:
    """The file as FFmpeg reads it."""

    def __init__(self, file: BinaryIO, pulse: Callable[[], None]) -> None:
        self._file, self._pulse = file, pulse

    def read(self, size: int) -> bytes:
        self._pulse()
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            offset = min(max(offset, 0), FURTHEST)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _refused(url: str, flags: int, options: object) -> BinaryIO:
    raise corrupt("it names another file, which is not opened")


def _is_cover(av: Any, stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _seconds(packet: Any) -> float:
    stamp = packet.dts if packet.pts is None else packet.pts
    return float("nan") if stamp is None else float(stamp * packet.time_base)


def _shown_at(frame: Any, time_base: Any, packets: Table, group: Group, shown: int) -> float:
    """The second of a frame that its group gave after ``shown`` others."""
    stamp = frame.dts if frame.pts is None else frame.pts
    if packets.origin is None or stamp is None or time_base is None:
        return float(packets.seconds[min(group.start + shown, len(packets.seconds) - 1)])
    return min(max(float(stamp * time_base) - packets.origin, 0.0), packets.length)


def _pixels(stream: Any) -> int:
    """Pixels of a frame of a track; 0 where so many frames as a group needs would not fit into memory."""
    context = stream.codec_context
    if context is None or context.format is None:
        return 0
    pixels = int(context.width * context.height)
    held = _HELD_FRAMES * pixels * context.format.padded_bits_per_pixel // 8
    return pixels if held <= _HELD_BYTES else 0


def _member(name: str, make: Callable[[], bytes], stored: int) -> Member:
    """A frame; its picture is made when it is opened, once."""
    made = cache(make)
    return Member(name.encode(), name, stored, lambda: io.BytesIO(made()), frame=True)


def _whole(name: str, data: bytes) -> Member:
    return Member(name.encode("utf-8", "surrogateescape"), name, max(1, len(data)), lambda: io.BytesIO(data), len(data))


def _words(error: BaseException) -> str:
    """What FFmpeg says went wrong, without a name of a file."""
    return str(getattr(error, "strerror", "") or type(error).__name__)
