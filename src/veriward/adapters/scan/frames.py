"""Frames of protocol 4, and what a reader loses that buffers them. PEP 3154; CPython: Modules/_pickle.c.

CPython's unpickler in C reads a frame at once. Where an opcode reaches over the end of the frame, it drops what is left
in its buffer and reads on behind the frame, unless the file can be peeked into (torch hands it one that cannot). So
`g1|2` with the frame's end at the bar fetches memo 12 for whoever reads the bytes in a row, and memo 2 in truth. What
follows a STOP inside a frame is dropped too. Picklers write no such streams.
"""


def torn(action: str, behind: int, frame_end: int) -> str | None:
    """Why an opcode inside a frame is read differently by different readers; None where it is not.

    >>> torn("push", 20, 20), torn("get", 21, 20)
    (None, 'reads an opcode across the end of its frame, which different readers read differently')
    """
    if behind > frame_end:
        return "reads an opcode across the end of its frame, which different readers read differently"
    if action == "frame":
        return "begins a frame inside another one"
    if action == "stop" and behind < frame_end:
        return "ends before its frame does, so different readers go on at different places"
    return None
