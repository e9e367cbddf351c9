"""What errors say, in the user's language. They are raised in English, as exceptions are; `catalogues/errors.zh.toml` has
the Chinese for each template of the source, and a test finds the ones that lack it."""

from veriward.reports.phrase_book import book


def error_text(text: str, language: str) -> str:
    """Return the message of a VeriwardError in a language; a message that no template knows stays as it is.

    >>> error_text("--seed x: want a whole number of at most 15 digits", "zh")
    '--seed x：应为至多 15 位的整数'
    """
    if language != "zh":
        return text
    return book("errors").find(text, "error") or book("scan").find(text, "error") or text


def raised_text(text: str, language: str) -> str:
    """Return what a check raised, "ModelError: model: …" as a dossier keeps it, in a language.

    >>> raised_text("ModelError: model: answered int8; want real numbers", "zh")
    'ModelError：模型：输出类型为 int8；应为实数'
    """
    name, colon, message = text.partition(": ")
    said = error_text(message, language)
    return f"{name}：{said}" if colon and said != message else text


def verified_text(text: str, language: str) -> str:
    """Return what `veriward verify` finds, in a language.

    >>> verified_text("blob 1f0a is missing", "zh")
    '缺少数据块 1f0a'
    """
    return (book("errors").find(text, "told") if language == "zh" else None) or text


def drafted_text(text: str, language: str) -> str:
    """Return a first subject.toml with its comments in a language; keys and values stay as they are.

    >>> drafted_text('kind = "tabular"  # inferred: the shape of the data', "zh")
    'kind = "tabular"  # 推断依据：数据的形状'
    """
    return "\n".join(_commented(line) for line in text.split("\n")) if language == "zh" else text


def _commented(line: str) -> str:
    values, mark, comment = line.rpartition("  # ")
    said = book("errors").find(comment, "drafted") if mark else None
    return f"{values}{mark}{said}" if said else line
