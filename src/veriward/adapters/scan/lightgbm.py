"""LightGBM models: a text with a header, trees at offsets that the header gives, and the settings of the training.

Format: LightGBM, src/boosting/gbdt_model_text.cpp (SaveModelToString), versions v2 to v4.
"""

import re
from collections.abc import Mapping, Sequence

from .boosted import BadModel, need, within
from .jsons import BadJson, read_json
from .lightgbm_trees import check_tree, one, pairs, whole
from .place import Place
from .source import Source
from .words import words

_OBJECTIVES = words(
    """
    binary cross_entropy cross_entropy_lambda custom fair gamma huber lambdarank mape multiclass multiclassova none
    poisson quantile rank_xendcg regression regression_l1 tweedie xentlambda xentropy
    """
)
_HEADER = words(
    """
    feature_infos feature_names label_index max_feature_idx monotone_constraints num_class num_tree_per_iteration
    objective tree_sizes version
    """
)
_FILES = words("forcedbins_filename forcedsplits_filename machine_list_filename parser_config_file")
_SETTING = re.compile(r"\[(\w{1,64}): (.*)\]")
_IMPORTANCE = re.compile(r".*=[0-9.e+-]{1,32}")
_INFO = re.compile(r"none|\[[-+0-9.einfa]+:[-+0-9.einfa]+\]|-?[0-9]+(:-?[0-9]+)*+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_PANDAS = "pandas_categorical:"
_MAX_HEADER = 1 << 25
_MAX_TAIL = 1 << 25
_MAX_OUTPUTS = 1 << 20


def scan_lightgbm(source: Source, place: Place) -> None:
    """Read a model of LightGBM and follow all of its indices.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_lightgbm(Source.of(b"tree"), place); place.notes.outcome
    'unknown'
    """
    try:
        _check_model(source, place)
    except BadModel as error:
        (place.dangerous if error.grave else place.unknown)(0, error.what, error.why)


def _check_model(source: Source, place: Place) -> None:
    header, at = _header(source)
    features, sizes = _check_header(header)
    for index, size in enumerate(sizes):
        need(0 < size <= source.size - at, f"tree {index}", "reaches beyond the file")
        lines = _text(source, at, size, f"tree {index}").split("\n")
        need(lines[-3:] == ["", "", ""], f"tree {index}", "does not end where the header says")
        need("" not in lines[:-3], f"tree {index}", "is more than one tree to readers that ignore tree_sizes")
        place.purse.spend("records", size // 2)
        check_tree(lines[:-3], index, features)
        at += size
    need(source.size - at <= _MAX_TAIL, f"{source.size - at} bytes", "follow the trees, more than are read")
    _check_tail(_text(source, at, source.size - at, "what follows the trees").split("\n"), place)


def _text(source: Source, at: int, size: int, what: str) -> str:
    try:
        text = source.read(at, size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadModel(what, "is no UTF-8") from error
    # a carriage return ends a line for LightGBM, so a name with one in it would be a name and a field
    within(_CONTROL.search(text) is None, what, "holds control characters, which readers take for ends of lines")
    return text


def _header(source: Source) -> tuple[dict[str, str], int]:
    """The fields before the first tree, and where that begins."""
    content, end = b"", -1
    while end < 0 and len(content) < min(source.size, _MAX_HEADER):
        content = source.read(0, max(1 << 16, 4 * len(content)))
        end = content.find(b"\n\n")
    need(end >= 0, "the header", "does not end")
    lines = _text(source, 0, end, "the header").split("\n")
    need(lines[0] == "tree", "the header", "should begin with the word tree")
    fields = pairs([line for line in lines[1:] if line != "average_output"], "the header")
    need(lines.count("average_output") <= 1, "average_output", "stands twice")
    return fields, end + 2


def _check_header(header: Mapping[str, str]) -> tuple[int, list[int]]:
    """The number of features and the sizes of the trees."""
    need(set(header) <= _HEADER, "the header", "has fields that are not known")
    need(header.get("version") in ("v2", "v3", "v4"), "version", "is not one of v2, v3 and v4")
    features = one(header, "max_feature_idx", "the header") + 1
    outputs = one(header, "num_class", "the header")
    need(0 < outputs <= _MAX_OUTPUTS and features > 0, "num_class", "or the number of features is out of bounds")
    within(one(header, "num_tree_per_iteration", "the header") == outputs, "num_tree_per_iteration", "is not num_class")
    need(one(header, "label_index", "the header", "0") >= 0, "label_index", "is below zero")
    _check_columns(header, features)
    _check_objective(header.get("objective", "none").split(" "), outputs)
    sizes = whole(header.get("tree_sizes", ""), "tree_sizes")
    need(len(sizes) > 0, "tree_sizes", "name no tree")
    within(len(sizes) % outputs == 0, "tree_sizes", f"are {len(sizes)}, which is no multiple of {outputs} outputs")
    return features, sizes


def _check_columns(header: Mapping[str, str], features: int) -> None:
    within(len(header.get("feature_names", "").split(" ")) == features, "feature_names", f"are not {features}")
    infos = header.get("feature_infos", "").split(" ")
    within(len(infos) == features, "feature_infos", f"are not {features}")
    need(all(_INFO.fullmatch(info) for info in infos), "feature_infos", "are no ranges and no lists of categories")
    if "monotone_constraints" in header:
        within(len(whole(header["monotone_constraints"], "monotone_constraints")) == features, "monotone_constraints")


def _check_objective(parts: Sequence[str], outputs: int) -> None:
    need(parts[0] in _OBJECTIVES, f"objective {parts[0][:40]}", "is none of LightGBM's own")
    settings = dict(part.partition(":")[::2] for part in parts[1:])
    need(set(settings) <= {"num_class", "sigmoid", "sqrt", "alpha"}, "objective", "has settings that are not known")
    is_multiple = parts[0].startswith("multiclass")
    classes = settings.get("num_class", "")
    within(
        classes == str(outputs) if is_multiple else outputs == 1 or parts[0] in ("none", "custom"),
        "objective",
        "is for another number of classes: native code writes so many numbers per row",
    )


def _check_tail(lines: Sequence[str], place: Place) -> None:
    """Importances, settings and categories: text that loading keeps and does not follow."""
    need(lines[0] == "end of trees", "what follows the trees", "should be the end of trees")
    section = ""
    for number, line in enumerate(lines[1:], 1):
        if line in ("feature_importances:", "parameters:", "end of parameters"):
            section = line
        elif line.startswith(_PANDAS):
            _check_categories("\n".join(lines[number:])[len(_PANDAS) :])
            return
        elif line and section == "parameters:":
            _check_setting(line, place)
        else:
            known = not line or (section == "feature_importances:" and _IMPORTANCE.fullmatch(line))
            need(bool(known), f"line {line[:40]}", "follows the trees and is not known")
    need(section != "parameters:", "the settings", "do not end: the file is cut off")


def _check_setting(line: str, place: Place) -> None:
    found = _SETTING.fullmatch(line)
    if found is None:
        raise BadModel(f"setting {line[:40]}", "should be a name and a value in brackets")
    if found[1] in _FILES and found[2]:
        place.unknown(0, f"{found[1]}: {found[2][:80]}", "is a file that LightGBM opens when the model is trained on")


def _check_categories(text: str) -> None:
    try:
        categories = read_json(text.encode())
    except BadJson as error:
        raise BadModel("pandas_categorical", str(error)) from error
    sound = categories is None or (isinstance(categories, list) and all(isinstance(one, list) for one in categories))
    need(sound, "pandas_categorical", "should be null, or a list of categories per column")
