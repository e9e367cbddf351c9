"""The text of a TorchScript program, as torch writes it, parsed without running it.

torch has a lexer of its own. Texts that it and Python's would cut differently (comments with types, tabs, continued
lines, quotes in threes, letters beyond ASCII) are never written by torch.jit.save and are refused here, so that both
see the same names. Source: torch/csrc/jit/frontend/lexer.h; the writer is serialization/python_print.cpp.
"""

import ast
import re
import warnings

_MAX_BRACKETS = 80  # CPython refuses 200, and its parser's stack grows with them
_MAX_LINE = 1 << 17
_TOKEN = re.compile(
    r"""
    "(?:[^"\\\n]|\\[abfnrtv0-7"'\\])*"                       # a text
    | [A-Za-z_][A-Za-z0-9_]*                                # a name
    | (?:\d+\.\d*|\.\d+|\d+)(?:e[-+]?\d+)?j?                # a number
    | [ ]+ | \n | -> | [-+*/%@&|^~<>=!.,:(){}\[\]]
    """,
    re.VERBOSE,
)
_MAX_STEPS = 64  # of a.b.c: each of its parts is judged with all that stands before it
_LONG_PATH = re.compile(rf"(?:\.[ ]*[A-Za-z_][A-Za-z0-9_]*[ ]*){{{_MAX_STEPS}}}")
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_TRIPLE = '"""'


class BadScript(ValueError):  # noqa: N818 -- never leaves the package
    """A text that is no TorchScript as torch writes it."""


def parse_script(content: bytes) -> ast.Module:
    """The syntax tree of one file of code; raises BadScript.

    >>> parse_script(b"def f(x: Tensor) -> Tensor:\\n  return x\\n").body[0].name
    'f'
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadScript("holds letters beyond ASCII, which torch writes as escapes") from error
    _check_tokens(text)
    if _LONG_PATH.search(text):
        raise BadScript(f"holds a path of more than {_MAX_STEPS} steps")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd comparisons and escapes; a warning is not a verdict
            return ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise BadScript(f"cannot be parsed ({type(error).__name__})") from error


def _check_tokens(text: str) -> None:
    at, depth = 0, 0
    if _TRIPLE in text or max(map(len, text.split("\n"))) > _MAX_LINE:
        raise BadScript("holds quotes in threes or endless lines, which torch does not write")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadScript(f"holds {text[at : at + 8]!r}, which torch does not write into code")
        token = match[0]
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth > _MAX_BRACKETS:
            raise BadScript(f"nests more than {_MAX_BRACKETS} brackets")
        at = match.end()
