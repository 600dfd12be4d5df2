"""Frames: what is sent arrives, and what is no frame is refused."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.pipeline.channel import MAX_BODY, MAX_JSON, Channel, ChannelClosed, ProtocolError

HEADER = struct.Struct("<4sBII")


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def frame(head: bytes, body: bytes = b"", magic: bytes = b"LMF1", carries: int = 0) -> bytes:
    return HEADER.pack(magic, carries, len(head), len(body)) + head + body


def test_fields_arrays_and_a_descriptor_arrive(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    sender = Channel(theirs.dup())
    memory = os.memfd_create("test")
    os.write(memory, b"payload")
    sent = np.arange(12, dtype=np.float32).reshape(3, 4)
    sender.send("look", {"a": [1, None, "ä"]}, {"x": sent, "none": np.zeros((0, 5), np.int32)}, memory)
    message = channel.receive()
    assert (message.kind, message.fields) == ("look", {"a": [1, None, "ä"]})
    assert np.array_equal(message.arrays["x"], sent)
    assert message.arrays["none"].shape == (0, 5)
    assert message.descriptor is not None
    assert os.pread(message.descriptor, 100, 0) == b"payload"
    os.close(message.descriptor)
    os.close(memory)
    sender.close()


def test_frames_in_pieces_are_put_together(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    whole = frame(b'{"kind":"a","fields":{},"arrays":[]}') * 2
    theirs.sendall(whole[:5])
    assert channel.drain() == []
    theirs.sendall(whole[5:60])
    first = channel.drain()
    theirs.sendall(whole[60:])
    assert [message.kind for message in first + channel.drain()] == ["a", "a"]


def test_the_end_is_told(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    theirs.close()
    with pytest.raises(ChannelClosed):
        channel.receive()
    with pytest.raises(ChannelClosed):
        for _ in range(100):
            channel.send("a", {"text": "x" * 10000})


@pytest.mark.parametrize(
    "data",
    [
        frame(b"{}"),
        frame(b"[]"),
        frame(b"nonsense"),
        frame(b'{"kind":1,"fields":{},"arrays":[]}'),
        frame(b'{"kind":"a","fields":[],"arrays":[]}'),
        frame(b'{"kind":"a","fields":{},"arrays":[["x","float32",[2]]]}', b"1234567"),
        frame(b'{"kind":"a","fields":{},"arrays":[["x","object",[1]]]}', b"12345678"),
        frame(b'{"kind":"a","fields":{},"arrays":[["x","float32",[-1]]]}', b""),
        frame(b'{"kind":"a","fields":{},"arrays":[["x","uint8",[4611686018427387904,8]]]}', b""),
        frame(b'{"kind":"a","fields":{},"arrays":[]}', b"left over"),
        frame(b"{}", magic=b"XXXX"),
        frame(b'{"kind":"a","fields":{},"arrays":[]}', carries=1),
        HEADER.pack(b"LMF1", 0, MAX_JSON + 1, 0),
        HEADER.pack(b"LMF1", 0, 10, MAX_BODY + 1),
    ],
)
def test_what_is_no_frame_is_refused(pair: tuple[Channel, socket.socket], data: bytes) -> None:
    channel, theirs = pair
    theirs.sendall(data)
    with pytest.raises(ProtocolError):
        channel.drain()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_protocol_error(data: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(ours)
    try:
        theirs.sendall(frame(data) if data[:1] > b"\x80" else b"LMF1" + data)
        channel.drain()
    except ProtocolError:
        pass
    finally:
        channel.close()
        theirs.close()
