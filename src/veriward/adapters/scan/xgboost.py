"""XGBoost models, as UBJSON or JSON: text and numbers, of which every index is followed.

Format: xgboost, doc/model.schema and "Introduction to Model IO"; the keys are those of xgboost 1.0 to 3.2.
"""

from collections.abc import Mapping
from itertools import accumulate, pairwise

from .boosted import BadModel, finite, integers, need, within
from .jsons import MAX_JSON_BYTES, BadJson, read_json
from .place import Place, Purse
from .source import Source
from .ubjson import BadUbjson, Numbers, read_ubjson
from .words import words
from .xgboost_trees import check_tree, number, numbers, texts

_OBJECTIVES = words(
    """
    binary:hinge binary:logistic binary:logitraw count:poisson multi:softmax multi:softprob rank:map rank:ndcg
    rank:pairwise reg:absoluteerror reg:gamma reg:linear reg:logistic reg:pseudohubererror reg:quantileerror
    reg:squarederror reg:squaredlogerror reg:tweedie survival:aft survival:cox
    """
)
_LEARNER = {"attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param", "objective"}
_MODEL_PARAMETERS = words("base_score boost_from_average num_class num_feature num_target")
_FEATURE_TYPES = {"c", "q", "i", "float", "int"}
_GBTREE = {"cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"}
_MAX_OUTPUTS = 1 << 20
_MAX_FEATURES = 1 << 31
_MAX_CATEGORY_BYTES = 1 << 28


def scan_xgboost(source: Source, place: Place) -> None:
    """Read a model of XGBoost and follow all of its indices.

    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_xgboost(Source.of(b'{"learner": {}}'), place); place.notes.outcome
    'unknown'
    """
    try:
        check_model(_document(source, place.purse), place.purse)
    except BadModel as error:
        (place.dangerous if error.grave else place.unknown)(0, error.what, error.why)
    except (BadJson, BadUbjson) as error:
        at = error.at if isinstance(error, BadUbjson) else 0
        (place.dangerous if error.twice else place.unknown)(at, "broken model", str(error))


def _document(source: Source, purse: Purse) -> object:
    lead = source.read(0, 4)
    if lead == b"binf":
        raise BadModel("binary model", "is in the format of XGBoost before 1.0; load it there and save it as .ubj")
    if lead[:2] == b"{L":
        return read_ubjson(source, purse)
    need(source.size <= MAX_JSON_BYTES, f"{source.size} bytes of JSON", "are too many to read; save the model as .ubj")
    return read_json(source.read(0, source.size))


def check_model(document: object, purse: Purse) -> None:
    """Check a parsed model; raises BadModel.

    >>> check_model({}, Purse())
    Traceback (most recent call last):
    veriward.adapters.scan.boosted.BadModel: the model should hold exactly a learner and a version
    """
    whole = _mapping(document, "the model")
    need(set(whole) == {"learner", "version"}, "the model", "should hold exactly a learner and a version")
    version = integers(numbers(whole["version"], "version", purse), "version")
    need(len(version) == 3 and 1 <= version[0] <= 3, f"version {list(version[:3])}", "is not one of 1 to 3")
    learner = _mapping(whole["learner"], "the learner")
    need(set(learner) <= _LEARNER, "the learner", "has fields that are not known")
    need({"gradient_booster", "learner_model_param", "objective"} <= set(learner), "the learner", "lacks fields")
    texts(learner.get("attributes", {}), "attributes")
    parameters = texts(learner["learner_model_param"], "learner_model_param")
    need(set(parameters) <= _MODEL_PARAMETERS, "learner_model_param", "has fields that are not known")
    features = number(parameters, "num_feature")
    outputs = max(1, number(parameters, "num_class", "0")) * max(1, number(parameters, "num_target", "1"))
    need(features < _MAX_FEATURES and outputs <= _MAX_OUTPUTS, "num_feature, num_class", "are too many")
    _check_base(parameters.get("base_score", "0.5"), outputs)
    _check_names(learner, features)
    _check_objective(learner["objective"], parameters, purse)
    _check_booster(_mapping(learner["gradient_booster"], "gradient_booster"), features, outputs, purse)


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadModel(what, "should be an object")
    return value


def _check_base(text: str, outputs: int) -> None:
    parts = text.strip("[]").split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise BadModel("base_score", "should be a number or a list of them") from error
    finite(values, "base_score")
    within(len(values) in (1, outputs), "base_score", f"holds {len(values)} numbers for {outputs} outputs")


def _check_names(learner: Mapping[str, object], features: int) -> None:
    for name in ("feature_names", "feature_types"):
        listed = learner.get(name, [])
        if isinstance(listed, Numbers) and not listed.count:
            continue
        if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
            raise BadModel(name, "should be a list of texts")
        need(len(listed) in (0, features), name, f"holds {len(listed)} entries for {features} features")
        need(name == "feature_names" or set(listed) <= _FEATURE_TYPES, name, "holds a type that is not known")


def _check_objective(value: object, parameters: Mapping[str, str], purse: Purse) -> None:
    objective = dict(_mapping(value, "objective"))
    name = objective.pop("name", None)
    need(isinstance(name, str) and name in _OBJECTIVES, f"objective {str(name)[:40]}", "is none of XGBoost's own")
    for key, setting in objective.items():
        if isinstance(setting, list | Numbers):
            finite(numbers(setting, f"objective, {key}", purse), f"objective, {key}")
        else:
            classes = texts(setting, f"objective, {key}").get("num_class", parameters.get("num_class", "0"))
            within(classes == parameters.get("num_class", "0"), "objective", "is for another number of classes")


def _check_booster(booster: Mapping[str, object], features: int, outputs: int, purse: Purse) -> None:
    name = booster.get("name")
    match name:
        case "gbtree":
            need(set(booster) == {"name", "model"}, "gbtree", "has fields that are not known")
            _check_forest(_mapping(booster["model"], "model"), features, outputs, purse)
        case "dart":
            need(set(booster) == {"name", "gbtree", "weight_drop"}, "dart", "has fields that are not known")
            inner = _mapping(booster["gbtree"], "gbtree")
            need(inner.get("name") == "gbtree", "dart", "should hold a gbtree")
            _check_booster(inner, features, outputs, purse)
            trees = _mapping(inner["model"], "model")["trees"]
            drops = finite(numbers(booster["weight_drop"], "weight_drop", purse), "weight_drop")
            within(isinstance(trees, list) and len(drops) == len(trees), "weight_drop", "is not one number per tree")
        case "gblinear":
            need(set(booster) == {"name", "model"}, "gblinear", "has fields that are not known")
            _check_linear(_mapping(booster["model"], "model"), features, outputs, purse)
        case _:
            raise BadModel(f"booster {str(name)[:40]}", "is none of XGBoost's own")


def _check_linear(model: Mapping[str, object], features: int, outputs: int, purse: Purse) -> None:
    need(
        set(model) <= {"boosted_rounds", "weights"} and "weights" in model, "gblinear", "has fields that are not known"
    )
    weights = finite(numbers(model["weights"], "weights", purse), "weights")
    wanted = (features + 1) * outputs
    within(len(weights) == wanted, "weights", f"holds {len(weights)} of {wanted} numbers, and native code reads all")
    need(type(model.get("boosted_rounds", 0)) is int, "boosted_rounds", "should be an integer")


def _check_forest(model: Mapping[str, object], features: int, outputs: int, purse: Purse) -> None:
    need(set(model) <= _GBTREE, "gbtree", "has fields that are not known")
    trees = model.get("trees")
    if not isinstance(trees, list):
        raise BadModel("trees", "should be a list")
    parameters = texts(model.get("gbtree_model_param"), "gbtree_model_param")
    within(number(parameters, "num_trees") == len(trees), "num_trees", f"is not the number of trees, {len(trees)}")
    number(parameters, "num_parallel_tree", "0")
    groups = integers(numbers(model.get("tree_info"), "tree_info", purse), "tree_info")
    within(len(groups) == len(trees) and all(0 <= group < outputs for group in groups), "tree_info")
    rounds = integers(numbers(model.get("iteration_indptr", [0, len(trees)]), "iteration_indptr", purse), "rounds")
    rising = all(first <= second for first, second in pairwise(rounds))
    within(rising and len(rounds) > 0 and rounds[0] == 0 and rounds[-1] == len(trees), "iteration_indptr")
    memory = 0
    for index, tree in enumerate(trees):
        memory += check_tree(tree, index, features, purse)
    need(memory <= _MAX_CATEGORY_BYTES, "sets of categories", f"take {memory} bytes once loaded")
    _check_encoder(_mapping(model.get("cats", {}), "cats"), features, purse)


def _check_encoder(cats: Mapping[str, object], features: int, purse: Purse) -> None:
    """The categories that were seen in training: names by offset into one buffer, and their order."""
    need(set(cats) <= {"enc", "feature_segments", "sorted_idx"}, "cats", "has fields that are not known")
    columns = cats.get("enc", [])
    if not isinstance(columns, list):
        raise BadModel("cats", "should list the columns")
    counts = [_check_column(_mapping(column, "cats"), purse) for column in columns]
    within(len(counts) in (0, features), "cats", f"holds {len(counts)} columns for {features} features")
    segments = integers(numbers(cats.get("feature_segments", []), "cats", purse), "cats")
    order = integers(numbers(cats.get("sorted_idx", []), "cats", purse), "cats")
    wanted = list(accumulate(counts, initial=0)) if counts else []
    within(list(segments) == wanted or (not counts and not segments), "cats, feature_segments")
    within(len(order) == sum(counts), "cats, sorted_idx")
    for column, count in enumerate(counts):
        own = order[wanted[column] : wanted[column + 1]]
        within(all(0 <= entry < count for entry in own), "cats, sorted_idx")


def _check_column(column: Mapping[str, object], purse: Purse) -> int:
    """How many categories a column has."""
    need(set(column) <= {"offsets", "values", "type"}, "cats", "has a column with fields that are not known")
    need(column.get("type", 0) in range(32), "cats", "has a column of a type that is not known")
    values = finite(numbers(column.get("values", []), "cats", purse), "cats")
    if "offsets" not in column:
        return len(values)
    offsets = integers(numbers(column["offsets"], "cats", purse), "cats")
    rising = all(first <= second for first, second in pairwise(offsets))
    within(rising and (not offsets or (offsets[0] == 0 and offsets[-1] == len(values))), "cats, offsets")
    return max(0, len(offsets) - 1)
