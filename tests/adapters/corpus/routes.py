"""Every way in which a pickle names a function and calls it with one text.

Opcodes: CPython's Lib/pickletools.py. Where a way was published as a bypass of a scanner, its source stands in SOURCES.
"""

import struct
from collections.abc import Callable

from .assembly import Code, build, call, framed, line, named, push, short, stream, text, then

Route = Callable[[str, str, str], bytes]


def by_global(module: str, name: str, argument: str) -> bytes:
    return b"c" + line(module) + line(name) + b"(V" + line(argument) + b"tR."


def by_global_in_protocol_2(module: str, name: str, argument: str) -> bytes:
    text = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    return b"\x80\x02c" + line(module) + line(name) + b"q\x00" + text + b"q\x01\x85q\x02Rq\x03."


def by_stack_global(module: str, name: str, argument: str) -> bytes:
    return b"\x80\x04" + short(module) + short(name) + b"\x93" + short(argument) + b"\x85R."


def by_stack_global_in_a_frame(module: str, name: str, argument: str) -> bytes:
    body = by_stack_global(module, name, argument)[2:]
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def by_names_of_the_memo(module: str, name: str, argument: str) -> bytes:
    stored = short(module) + b"\x94" + short(name) + b"\x94" + b"00"
    return b"\x80\x04" + stored + b"h\x00h\x01\x93" + short(argument) + b"\x85R."


def by_names_of_a_far_memo(module: str, name: str, argument: str) -> bytes:
    stored = short(module) + b"r\xff\xff\x00\x00" + short(name) + b"p1_0\n" + b"00"
    return b"\x80\x04" + stored + b"j\xff\xff\x00\x00g10\n\x93" + short(argument) + b"\x85R."


def by_names_of_lines(module: str, name: str, argument: str) -> bytes:
    return b"\x80\x04V" + line(module) + b"V" + line(name) + b"\x93V" + line(argument) + b"\x85R."


def by_escaped_names(module: str, name: str, argument: str) -> bytes:
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in name)
    return b"\x80\x04V" + line(module) + b"V" + line(hidden) + b"\x93V" + line(argument) + b"\x85R."


def by_escaped_strings(module: str, name: str, argument: str) -> bytes:
    def hidden(text: str) -> bytes:
        return b"S'" + "".join(f"\\x{ord(letter):02x}" for letter in text).encode() + b"'\n"

    return b"\x80\x04" + hidden(module) + hidden(name) + b"\x93V" + line(argument) + b"\x85R."


def by_old_strings(module: str, name: str, argument: str) -> bytes:
    first = b"U" + bytes([len(module)]) + module.encode()
    second = b"T" + struct.pack("<i", len(name)) + name.encode()
    return b"\x80\x04" + first + second + b"\x93" + short(argument) + b"\x85R."


def by_wide_names(module: str, name: str, argument: str) -> bytes:
    def wide(text: str) -> bytes:
        return b"\x8d" + struct.pack("<Q", len(text)) + text.encode()

    return b"\x80\x04" + wide(module) + wide(name) + b"\x93" + wide(argument) + b"\x85R."


def by_doubled_names(module: str, name: str, argument: str) -> bytes:
    return b"\x80\x04" + short(module) + b"2" + b"0" + short(name) + b"\x93" + short(argument) + b"\x85R."


def by_names_out_of_a_mark(module: str, name: str, argument: str) -> bytes:
    return b"\x80\x04(K\x01K\x021" + short(module) + b"(0" + short(name) + b"\x93" + short(argument) + b"\x85R."


def by_instance(module: str, name: str, argument: str) -> bytes:
    return b"(V" + line(argument) + b"i" + line(module) + line(name) + b"."


def by_object(module: str, name: str, argument: str) -> bytes:
    return b"(c" + line(module) + line(name) + b"V" + line(argument) + b"o."


def by_dotted_name(module: str, name: str, argument: str) -> bytes:
    return b"\x80\x04" + short("shutil") + short(f"{module}.{name}") + b"\x93" + short(argument) + b"\x85R."


def by_a_list(module: str, name: str, argument: str) -> bytes:
    return b"(lp0\n" + by_global(module, name, argument)[:-1] + b"a."


def by_a_key(module: str, name: str, argument: str) -> bytes:
    return b"\x80\x02}(" + by_global(module, name, argument)[:-1] + b"K\x01u."


def before_the_end_is_cut(module: str, name: str, argument: str) -> bytes:
    return by_global_in_protocol_2(module, name, argument)[:-1]


def before_rubbish(module: str, name: str, argument: str) -> bytes:
    return by_global(module, name, argument)[:-1] + b"\xff\xff"


def _called(module: str, name: str, argument: str) -> Code:
    return call(f"{module}:{name}", argument)


def by_calls_whose_result_is_dropped(module: str, name: str, argument: str) -> bytes:
    return stream(then(_called(module, name, argument), push(None)))


def by_a_new_object(module: str, name: str, argument: str) -> bytes:
    lazy = call("builtins:map", named(f"{module}:{name}"), [argument])
    return stream(Code(named("builtins:bytes") + push((lazy,)) + b"\x81"))


def by_a_new_object_with_keywords(module: str, name: str, argument: str) -> bytes:
    lazy = call("builtins:map", named(f"{module}:{name}"), [argument])
    return stream(Code(named("builtins:bytes") + push((lazy,)) + b"}\x92"))


def by_a_state_that_was_set(module: str, name: str, argument: str) -> bytes:
    target = call("collections:OrderedDict")
    return stream(build(build(target, {"__setstate__": named(f"{module}:{name}")}), argument))


def by_a_state_in_slots(module: str, name: str, argument: str) -> bytes:
    target = call("collections:OrderedDict")
    return stream(build(build(target, (None, {"__setstate__": named(f"{module}:{name}")})), argument))


def by_names_kept_in_a_function(module: str, name: str, argument: str) -> bytes:
    kept = build(named("numpy:prod"), (None, {"a": module, "b": name}))
    found = Code(named("numpy:prod.a") + named("numpy:prod.b") + b"\x93")
    return stream(then(kept, call(found, argument)))


def by_a_confused_memo(module: str, name: str, argument: str) -> bytes:
    evil = text(module) + b"q\x00" + text(name) + b"q\x01"
    decoy = text("torch._utils") + b"\x94" + text("_rebuild_tensor_v2") + b"\x94"
    return stream(Code(evil + decoy + b"0000h\x00h\x01\x93" + text(argument) + b"\x85R"))


def by_a_memo_that_is_rewritten(module: str, name: str, argument: str) -> bytes:
    stored = text("collections") + b"q\x00" + text("OrderedDict") + b"q\x010" + text(name) + b"q\x0100" + text(module)
    return stream(Code(stored + b"q\x000h\x00h\x01\x93" + text(argument) + b"\x85R"))


def by_memoized_calls(module: str, name: str, argument: str) -> bytes:
    return stream(Code(named(f"{module}:{name}") + b"\x940h\x00" + text(argument) + b"\x94\x85\x94R\x94"))


def by_two_frames(module: str, name: str, argument: str) -> bytes:
    first, second = named(f"{module}:{name}"), text(argument) + b"\x85R."
    sizes = (struct.pack("<Q", len(first)), struct.pack("<Q", len(second)))
    return b"\x80\x04\x95" + sizes[0] + first + b"\x95" + sizes[1] + second


def by_a_pickle_in_a_pickle(module: str, name: str, argument: str) -> bytes:
    return framed(call("pickle:loads", stream(_called(module, name, argument))))


def by_a_pickle_in_text(module: str, name: str, argument: str) -> bytes:
    inner = call("_codecs:encode", by_global(module, name, argument).decode("latin-1"), "latin1")
    return stream(call("_pickle:loads", inner))


def by_a_second_pickle(module: str, name: str, argument: str) -> bytes:
    return b"N." + by_global(module, name, argument)


def by_a_persistent_id(module: str, name: str, argument: str) -> bytes:
    return stream(Code(_called(module, name, argument) + b"Q"))


def by_an_argument_of_a_harmless_call(module: str, name: str, argument: str) -> bytes:
    return stream(call("collections:OrderedDict", [("a", _called(module, name, argument))]))


def by_an_item_of_a_set(module: str, name: str, argument: str) -> bytes:
    return stream(Code(b"\x8f(" + _called(module, name, argument) + b"\x90"))


def by_a_frozen_set(module: str, name: str, argument: str) -> bytes:
    return stream(Code(b"(" + _called(module, name, argument) + b"\x91"))


def by_a_number_that_pickletools_refuses(module: str, name: str, argument: str) -> bytes:
    return b"I0x10\n0" + by_global(module, name, argument)


def by_a_library_that_leads_there(module: str, name: str, argument: str) -> bytes:
    return stream(
        call(f"numpy:lib.npyio.{module}.{name}" if module != "os" else f"torch:serialization.os.{name}", argument)
    )


def _torn(index: int) -> bytes:
    """A memo index whose digits the end of a frame cuts: 1|2 is 12 in a row, and 2 for CPython's buffer."""
    digits = b"%d\n" % index
    return b"\x95" + struct.pack("<Q", 2) + b"g" + digits


def by_an_index_torn_by_a_frame(module: str, name: str, argument: str) -> bytes:
    kept = {2: module, 3: name, 4: argument, 12: "collections", 13: "OrderedDict", 14: []}
    memo = b"".join(push(value) + b"p%d\n0" % index for index, value in kept.items())
    return stream(Code(memo + _torn(12) + _torn(13) + b"\x93" + _torn(14) + b"\x85R"))


def by_a_second_pickle_behind_a_frame(module: str, name: str, argument: str) -> bytes:
    """In a row, the second pickle is the text of the first one's follower; in frames, it is one of its own."""
    second = by_global(module, name, argument)
    inside = b"N." + b"\x80\x04B" + struct.pack("<I", len(second))
    return b"\x80\x04\x95" + struct.pack("<Q", len(inside)) + inside + second + b"."


def before_a_protocol_of_the_future(module: str, name: str, argument: str) -> bytes:
    return by_global(module, name, argument)[:-1] + b"\x80\x63."


def before_a_broken_text(module: str, name: str, argument: str) -> bytes:
    return by_global(module, name, argument)[:-1] + b"\x8c\x02\xff\xff."


def before_a_missing_memo(module: str, name: str, argument: str) -> bytes:
    return by_global(module, name, argument)[:-1] + b"h\x63."


def before_a_missing_buffer(module: str, name: str, argument: str) -> bytes:
    return stream(Code(_called(module, name, argument) + b"\x97\x98"), 5)


def before_an_extension(module: str, name: str, argument: str) -> bytes:
    return stream(Code(_called(module, name, argument) + b"\x82\x01\x83\x01\x02\x84\x01\x02\x03\x04"))


def before_a_stack_that_is_empty(module: str, name: str, argument: str) -> bytes:
    return stream(Code(_called(module, name, argument) + b"000t"))


ROUTES: dict[str, Route] = {
    name: function for name, function in list(globals().items()) if name.startswith(("by_", "before_"))
}

SOURCES = {
    "by_instance": "picklescan issue 13",
    "by_a_confused_memo": "picklescan issue 14",
    "by_names_kept_in_a_function": "modelscan issue 85",
    "by_calls_whose_result_is_dropped": "fickling, calls that vanish with POP",
    "by_a_state_that_was_set": "fickling pull request 302, BUILD keeps a call out of sight",
    "before_rubbish": "nullifAI: the stream breaks after its payload",
    "before_the_end_is_cut": "nullifAI: the stream breaks after its payload",
    "by_a_library_that_leads_there": "picklescan issue 66, chains of attributes",
    "before_a_broken_text": "arXiv:2508.19774, exceptions that stop the scanner first",
}

# These work where the loader cannot peek into its file: torch.load on a zip, or any BytesIO.
UNPEEKED = ("by_an_index_torn_by_a_frame", "by_a_second_pickle_behind_a_frame")
