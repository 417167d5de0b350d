from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies as st

from gadget.vm import frames
from gadget.vm.frames import Decoder, Frame

FRAMES = st.lists(
    st.builds(Frame, st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=200)),
    max_size=8,
)
# What Linux lets into an argument: any bytes but NUL.
WORDS = st.binary(max_size=20).map(lambda word: word.replace(b"\0", b"x"))
NAMES = WORDS.map(lambda word: word.replace(b"=", b"_"))


@given(FRAMES, st.lists(st.integers(0, 2000), max_size=10))
def test_frames_survive_any_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(bytes(frame) for frame in sent)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    decoder = Decoder()
    received = []
    for start, end in itertools.pairwise(edges):
        received += decoder.feed(stream[start:end])
    assert received == sent


def test_the_wire_format() -> None:
    frame = Frame(frames.DATA, command=0x01020304, stream=frames.STDERR, payload=b"abc")
    assert bytes(frame) == bytes([16, 2, 0, 0, 4, 3, 2, 1, 3, 0, 0, 0]) + b"abc"


def test_a_length_that_cannot_be_is_refused_before_it_is_waited_for() -> None:
    header = frames.HEADER.pack(frames.DATA, 0, 1, frames.MAX_PAYLOAD + 1)
    with pytest.raises(ValueError, match="not the gadget protocol"):
        Decoder().feed(header)


@given(
    st.lists(WORDS, min_size=1, max_size=5),
    WORDS,
    st.dictionaries(NAMES, WORDS, max_size=5),
    st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    st.booleans(),
)
def test_a_command_survives_packing(
    argv: list[bytes], cwd: bytes, environment: dict[bytes, bytes], size: tuple[int, int] | None, extra: bool
) -> None:
    packed = frames.pack_start(argv, cwd, environment, size, extra=extra)
    assert frames.unpack_start(packed) == (argv, cwd, environment, size, extra)


@pytest.mark.parametrize(
    ("argv", "cwd"), [([], b"/"), ([b"a\0b"], b"/"), ([b"true"], b"/a\0b"), ([b"x" * frames.MAX_PAYLOAD], b"/")]
)
def test_what_no_command_can_be_is_refused(argv: list[bytes], cwd: bytes) -> None:
    with pytest.raises(ValueError, match=r"NUL|too long"):
        frames.pack_start(argv, cwd, {}, None)
