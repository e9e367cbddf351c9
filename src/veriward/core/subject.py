"""What is assessed: a model, its data, and how an attacker may reach it. Describes; opens nothing, runs nothing."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from veriward.core.endpoint import Endpoint, check_served, is_address
from veriward.core.errors import SettingsError
from veriward.core.explain_validation import explain
from veriward.core.rules import Rule
from veriward.core.section import Section

Task = Literal["classification", "regression", "forecasting", "recommendation", "text", "policy"]
Kind = Literal["image", "tabular", "text", "audio", "series", "interactions", "observation"]
Access = Literal["gradients", "scores", "labels"]
Output = Literal["logits", "probabilities", "labels", "value"]
Norm = Literal["linf", "l2", "l1"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LONGEST_NAME = 100  # the dossier and its reports are called after it, and file systems end at 255 bytes


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else [value]


def _amount(text: str, wanted: str) -> str:
    """Return an amount like "10%" or "0.5"; ValueError with what was wanted for anything that is not positive."""
    try:
        positive = 0 < float(text.removesuffix("%").strip()) < math.inf
    except ValueError:
        positive = False
    if not positive:
        raise ValueError(wanted)
    return text


def _distinct(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    shown = [f"{value:g}" if isinstance(value, float) else value for value in values or ()]
    if len(set(shown)) < len(shown):
        raise ValueError(f"names {next(v for v in shown if shown.count(v) > 1)} twice; want each once")
    return values


class ModelSection(Section):
    """The model: a file, an address, or a live object of the caller's (module or callable), which stays untouched."""

    path: str | None = None
    factory: str | None = None
    access: Access | None = None
    output: Output | None = None
    endpoint: Endpoint | None = None  # of a model that is served
    live: Any = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _is_there(self) -> "ModelSection":
        if (self.path is None) == (self.live is None):
            raise ValueError("want path, the model's file (in Python also a module or a callable)")
        if self.is_served:
            check_served(self.path or "", self.factory, self.endpoint)
        elif self.endpoint is not None:
            raise ValueError("endpoint is about served models; want path = 'https://…', or no endpoint")
        return self

    @property
    def is_served(self) -> bool:
        """Whether the model is asked over the network."""
        return self.path is not None and is_address(self.path)


class InputSection(Section):
    """What the rows are, in raw input units."""

    kind: Kind | None = None
    bounds: tuple[Finite, Finite] | None = None
    columns: tuple[str, ...] | None = None  # the model's inputs in their order, where the file does not say

    _once = field_validator("columns")(_distinct)

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not -math.inf < bounds[0] < bounds[1] < math.inf:
            raise ValueError("want [low, high] with low < high, both finite, in raw input units")
        return bounds


class DataSection(Section):
    """Where the rows are: files, or objects of the caller's (arrays, tensors, data frames)."""

    train: Any = None
    test: Any = None
    label: str | None = None
    classes: tuple[str | int | float | bool, ...] | None = None  # in the order of the model's scores
    favourable: str | int | float | bool | None = None
    id: str | None = None
    groups: tuple[str, ...] = ()
    quasi_identifiers: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_rows(self) -> "DataSection":
        if self.test is None and self.train is None:
            raise ValueError("want test (or train), a file with the rows to assess on")
        if self.label is not None and self.label in (self.id, *self.groups):
            raise ValueError(f"label {self.label!r} is also an id or a group; want another column for each role")
        return self


class Feature(Section):
    """What an attacker may do to one column of a table."""

    kind: Literal["numeric", "integer", "category", "boolean"] | None = None
    range: tuple[Finite, Finite] | None = None
    mutable: bool = True
    change: str | None = None
    eps: Positive | None = None
    block: str | None = None  # one-hot columns of one name are one category

    @field_validator("range")
    @classmethod
    def _rises(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and ends[0] > ends[1]:
            raise ValueError("want [low, high] with low <= high, in raw units")
        return ends

    @field_validator("change")
    @classmethod
    def _is_change(cls, text: str | None) -> str | None:
        if text is not None and text != "any":
            _amount(text, "want '10%' (of the row's value), '0.5' (raw units) or 'any'")
        return text


class Evasion(Section):
    """The attacker of the evasion checks; eps in raw input units."""

    norm: Annotated[tuple[Norm, ...], BeforeValidator(_listed), Field(min_length=1)] = ("linf",)
    eps: Annotated[tuple[Positive, ...], BeforeValidator(_listed), Field(min_length=1)] | None = None

    mask: Any = None  # of eps, in the shape of a row: a .npy file or an array of shares; 0 cannot be touched
    tolerance: str | None = None  # of regression: a prediction moved farther is a success; default "10%"
    plan: Literal["standard", "strict-autoattack"] = "standard"
    search: Literal["exact", "bfloat16"] = "exact"  # the numbers slopes are computed in; decisions stay the model's own
    universal: bool = False  # also one change for all rows
    patch: float | None = Field(default=None, gt=0, lt=1)  # also a patch of this share of a picture, of any content
    backward: str | None = None  # "module:function" that gives a differentiable stand-in for the model's slopes

    _once = field_validator("norm", "eps")(_distinct)

    @field_validator("tolerance")
    @classmethod
    def _is_tolerance(cls, text: str | None) -> str | None:
        return text if text is None else _amount(text, "want '10%' (of the prediction) or '0.5' (units of the target)")


class ThreatSection(Section):
    """One table per family of attacks."""

    evasion: Evasion = Evasion()


class Claims(Section):
    """What the maker of the model claims about its privacy."""

    epsilon: Positive | None = None
    delta: float | None = Field(default=None, ge=0, lt=1)
    unit: str = "row"
    relation: Literal["add-or-remove-one", "replace-one", "zero-out"] | None = None  # of neighbouring data sets
    record: str | None = None  # the file that tells how: veriward train writes it


class PrivateRecipe(Section):
    """How a recipe trains privately. What is written here is public: nothing of it may be computed from private rows."""

    sampling: Literal["poisson", "shuffled", "fixed", "full"] = "poisson"
    rows: int | None = Field(default=None, gt=0)  # about how many, as anybody may know; else their number is public
    batch_size: int | None = Field(default=None, gt=0)  # else the recipe's
    epochs: int | None = Field(default=None, gt=0)
    learning_rate: Positive | None = None
    clip: Positive | Literal["automatic", "adaptive"] | None = None
    mechanism: Literal["gaussian", "laplace", "tree", "banded"] = "gaussian"  # tree, banded: DP-FTRL
    noise_multiplier: Positive | None = None  # else the smallest that epsilon allows
    group: int = Field(default=1, gt=0)  # rows of one person that are protected together


class Recipe(Section):
    """How the model was trained; its code runs only for what trains again."""

    fit: str | None = None  # "recipe:fit": def fit(x, y, *, seed, device) -> model
    build: str | None = None  # "recipe:build": def build() -> module
    loss: str | None = None  # a name, or "recipe:loss": def loss(output, y) -> one number per row
    optimiser: str | None = (
        None  # "adam", "sgd(lr=0.1, momentum=0.9)", or "recipe:optimiser": def optimiser(parameters)
    )
    learning_rate: Positive | None = None
    epochs: int | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, gt=0)
    private: PrivateRecipe | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Recipe":
        if self.fit is not None and self.build is not None:
            raise ValueError("names fit and build; want one of them: fit trains whole, build is trained step by step")
        return self


def _as_model(value: Any) -> Any:
    if value is None or isinstance(value, Mapping | ModelSection):
        return value
    return {"path": str(value)} if isinstance(value, str | Path) else {"live": value}


class Subject(Section):
    """A model with its data and the attacker's reach; the same keys as `subject.toml`.

    >>> Subject(model=len, data={"test": ([[0.0]], [0])}).name
    'subject'
    """

    name: str = "subject"
    task: Task | None = None
    model: Annotated[ModelSection, BeforeValidator(_as_model)]
    data: DataSection
    input: InputSection = InputSection()
    features: dict[str, Feature] = Field(default_factory=dict)
    rules: dict[str, str] = Field(default_factory=dict)
    recipe: Recipe | None = None
    threat: ThreatSection = ThreatSection()
    claims: Claims | None = None
    folder: Path = Field(default=Path(), exclude=True)  # where relative paths start
    file: str = Field(default="", exclude=True)  # the name of the file that `load` read; "": made in Python

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:  # its own text would quote what came, rows included
            raise SettingsError(explain("subject", error, type(self))) from None

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str) -> str:
        if not name.isprintable() or not name.strip() or any(sign in name for sign in "/\\") or name.startswith("."):
            wanted = "printable characters without / and \\, the first one no dot"
            raise ValueError(f"want {wanted}: the dossier's file is called after it")
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"want at most {LONGEST_NAME} bytes: the dossier's file is called after it")
        return name

    @field_validator("rules")
    @classmethod
    def _parse(cls, rules: dict[str, str]) -> dict[str, str]:
        for name, text in rules.items():
            Rule.parse(name, text)
        return rules

    @classmethod
    def load(cls, path: str | Path) -> "Subject":
        """Read a `subject.toml`, or the one in a folder.

        Raises SettingsError that names the key, what came, what was wanted and the choices.
        """
        file = Path(path)
        file = file / "subject.toml" if file.is_dir() else file
        values = _read_toml(file)
        for key in ("folder", "file"):
            if key in values:
                raise SettingsError(f"{file}: unknown key {key!r}; paths are relative to the file")
        _check_paths(file, values)
        try:
            folder = file.resolve().parent
            subject = cls.model_validate({"name": folder.name, **values, "folder": folder, "file": file.name})
        except SettingsError as error:
            raise SettingsError(f"{file}: {str(error).removeprefix('subject: ')}") from None
        if subject.data.label is None and not _holds_arrays(subject):
            raise SettingsError(f"{file}: data.label is missing; want the name of the target column")
        return subject

    def place(self, path: str) -> Path:
        """Return where a path of the subject points to: relative ones start in its folder."""
        return self.folder / path

    @property
    def is_live(self) -> bool:
        """Whether the model is an object of the caller's, which cannot travel to another process."""
        return self.model.live is not None


def _holds_arrays(subject: Subject) -> bool:
    return all(str(part).endswith((".npz", ".safetensors")) for part in (subject.data.train, subject.data.test) if part)


def _check_paths(file: Path, values: Mapping[str, Any]) -> None:
    """In a file, models and data are paths; the objects that Python callers may give cannot be written there."""
    model, data = values.get("model", ""), values.get("data", {})
    if not isinstance(model, str | Mapping) or (isinstance(model, Mapping) and "live" in model):
        raise SettingsError(f"{file}: [model] wants path, the model's file, and factory where it holds weights alone")
    for which in ("train", "test"):
        if isinstance(data, Mapping) and not isinstance(data.get(which, ""), str):
            raise SettingsError(f"{file}: data.{which} = {data[which]!r}: want the path of one file, in quotes")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such file; veriward init MODEL DATA writes a first subject.toml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read ({error}); want a readable UTF-8 file") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None
