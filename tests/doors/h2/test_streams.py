"""Windows, where no client could be quick enough to have it so."""

from __future__ import annotations

from server.doors.h2.frames import DATA, END_STREAM, render_frame
from server.doors.h2.streams import Outflow, Stream


def test_an_end_with_nothing_before_it_needs_no_window() -> None:
    outflow = Outflow()
    stream = Stream(1, 0.0, 0)
    outflow.widen(stream, -7)  # by SETTINGS, when the last piece had been sent
    outflow.window = 0
    outflow.add(stream, b"", ends=True, now=0.0)
    frames, done = outflow.take(1000, 0.0)
    assert b"".join(frames) == render_frame(DATA, END_STREAM, 1)
    assert done == [stream]
    assert (stream.window, outflow.window) == (-7, 0)
