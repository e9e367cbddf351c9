"""Finds the English words of a Chinese text: every run of Latin letters that is no identifier and no proper name."""

import re

NAMES = """AUC TPR FPR ROC SHA Holm Clopper Pearson DeLong McDiarmid Student Berger Boos Bonferroni Šidák NIST NISTAML AI
MITRE ATLAS OWASP AML ML ISO IEC TR GB Art LiRA RMIA RobustBench veriward English UTC JSON ONNX logits eps linf skops
digits every default ecommerce safetensors cpu python torch numpy Linux UNKNOWN"""
IDENTIFIER = re.compile(
    r"[\w.+-]*/[\w./@=+-]+"  # checks, paths
    r"|[A-Za-z]\w*_[\w.]+|\b[A-Za-z]+\d+\b"  # metrics, columns, formats
    r"|[A-Za-z]\w*(?:[.-]\w+)+(?::\d+)?"  # files, keys of subject.toml, names with hyphens
    r"|\w+@[0-9a-f]{4}\b"  # a policy, a recipe
    r"|\b[0-9a-f]{8,64}\b"  # hashes
    r"|--[a-z-]+",  # options
    re.ASCII,
)
WORD = re.compile(r"[A-Za-zÀ-ſ][A-Za-zÀ-ſ]+")


def english(text: str, foreign: str = "") -> list[str]:
    """Return the words left when identifiers, proper names and the subject's own words are taken away.

    >>> english("策略 default 的 robust_accuracy 为 evasion/linf high")
    ['high']
    """
    known = {*NAMES.split(), *foreign.split()}
    return sorted({word for word in WORD.findall(IDENTIFIER.sub(" ", text)) if word not in known})
