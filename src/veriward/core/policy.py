"""Limits, written down and hashed before the run."""

import operator
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from veriward.core.canonical import digest
from veriward.core.errors import SettingsError
from veriward.core.explain_validation import explain

# as in core/subject.py, which takes numpy along: `veriward policy` answers at once
Task = Literal["classification", "regression", "forecasting", "recommendation", "text", "policy"]
Budget = Literal["quick", "standard", "thorough"]
BUDGETS: tuple[Budget, ...] = ("quick", "standard", "thorough")
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
COMPLEMENT = {">=": "<", "<=": ">", ">": "<=", "<": ">="}


@dataclass(frozen=True)
class Condition:
    """A comparison with a number, such as ">= 0.50"."""

    sign: str
    threshold: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read "<sign> <number>"; raises ValueError with what was wanted.

        >>> Condition.parse(">= 0.50")
        Condition(sign='>=', threshold=0.5)
        """
        match = re.fullmatch(r"\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*(%?)\s*", text)
        if not match:
            raise ValueError(f"{text!r} is not a condition; want e.g. '>= 0.50', '< 3' or '<= 5 %'")
        return cls(match[1], float(match[2]) / (100 if match[3] else 1))

    def __str__(self) -> str:
        return f"{self.sign} {self.threshold:g}"

    @property
    def wants_large(self) -> bool:
        """Whether large values meet it."""
        return self.sign in {">=", ">"}

    def met(self, value: float) -> bool:
        """Return whether a value meets the condition."""
        return OPERATORS[self.sign](value, self.threshold)


class Limit(BaseModel):
    """One limit: a check, a metric, when it passes and when it fails."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    check: str
    metric: str
    pass_: str = Field(alias="pass")
    fail_: str | None = Field(default=None, alias="fail")
    sufficient: Budget | None = None
    at: dict[str, float | int | str] | None = None
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    reason: str = ""
    reason_zh: str = ""
    source: str = ""
    source_zh: str = ""
    task: Task | None = None  # the limit is about models of this task alone
    optional: bool = (
        False  # measured on some subjects only, and then held against: no mistake where nothing measures it
    )

    @field_validator("pass_", "fail_")
    @classmethod
    def _is_condition(cls, text: str | None) -> str | None:
        if text is not None:
            Condition.parse(text)
        return text

    @model_validator(mode="after")
    def _sides_agree(self) -> "Limit":
        passes, fails = self.passes, self.fails
        if passes.wants_large == fails.wants_large:
            raise ValueError(f"pass '{passes}' and fail '{fails}' look the same way; want opposite directions")
        ahead = (fails.threshold - passes.threshold) * (1 if passes.wants_large else -1)
        if ahead > 0 or (ahead == 0 and passes.met(passes.threshold) and fails.met(fails.threshold)):
            raise ValueError(f"pass '{passes}' and fail '{fails}' overlap: some values would meet both")
        return self

    @property
    def passes(self) -> Condition:
        """The condition under which the limit is kept."""
        return Condition.parse(self.pass_)

    @property
    def fails(self) -> Condition:
        """The condition under which the limit is broken; by default the complement of `passes`."""
        if self.fail_ is not None:
            return Condition.parse(self.fail_)
        return Condition(COMPLEMENT[self.passes.sign], self.passes.threshold)

    def covers(self, check: str, metric: str, at: Mapping[str, Any]) -> bool:
        """Return whether an estimate falls under this limit."""
        same_place = self.at is None or all(at.get(key) == value for key, value in self.at.items())
        return fnmatchcase(check, self.check) and metric == self.metric and same_place


class Policy(BaseModel):
    """A named list of limits."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = "policy"
    description: str = ""
    description_zh: str = ""
    limit: tuple[Limit, ...] = ()

    @classmethod
    def load(cls, source: "str | Path | Policy | None") -> "Policy":
        """Return a policy from a file, from the name of one that ships with the package, or the default one.

        Raises SettingsError that names the limit, the key and the choices.

        >>> Policy.load("default").name
        'default'
        """
        if isinstance(source, Policy):
            return source
        name = str(source or "default")
        path = Path(name)
        if path.suffix == ".toml":
            return cls.parse(_read(path), name=path.stem, where=name)
        if name not in shipped():
            known = ", ".join(shipped())
            raise SettingsError(f"--policy {name}: no such policy; want a .toml file or one of {known}")
        text = (resources.files("veriward") / "policies" / f"{name}.toml").read_text(encoding="utf-8")
        return cls.parse(text, name=name, where=name)

    @classmethod
    def parse(cls, text: str, *, name: str, where: str) -> "Policy":
        """Return the policy written in a TOML text."""
        try:
            return cls.model_validate({"name": name, **tomllib.loads(text)})
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{where}: not valid TOML: {error}; see veriward/policies/default.toml") from None
        except ValidationError as error:
            raise SettingsError(explain(where, error, cls, lambda path: line_of(text, path))) from None

    def for_task(self, task: str) -> "Policy":
        """Return the limits that can be about models of a task; those of another one take no share of the error.

        >>> rule = {"check": "a/b", "metric": "m", "pass": "<= 1", "task": "regression"}
        >>> Policy(limit=(Limit.model_validate(rule),)).for_task("classification").limit
        ()
        """
        return self.model_copy(update={"limit": tuple(rule for rule in self.limit if rule.task in (None, task))})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the names as in the file."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")

    @property
    def hash(self) -> str:
        """SHA-256 of the limits: what a report quotes to show that they were fixed before the run."""
        return digest(self.to_dict())


def line_of(text: str, path: Sequence[Any]) -> int | None:
    """Return the line of a policy's text that holds a key, such as ("limit", 2, "pass"); of a limit, its first line.

    >>> line_of('name = "x"\\n[[limit]]\\ncheck = "a/b"\\n', ["limit", 0, "check"])
    3
    """
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*limit\s*\]\]", line)]
    if len(path) < 2 or path[0] != "limit":
        start, end, key = 0, (heads or [len(lines) + 1])[0] - 1, path[0] if path else ""
    elif path[1] < len(heads):
        start, end = heads[path[1]], ([*heads, len(lines) + 1])[path[1] + 1] - 1
        key = path[2] if len(path) > 2 else ""
    else:
        return None
    held = (n for n in range(start, end) if re.match(rf"""\s*["']?{re.escape(str(key))}["']?\s*[=.]""", lines[n]))
    found = next(held, None) if key else None
    return found + 1 if found is not None else (start or None)


def shipped() -> tuple[str, ...]:
    """Return the names of the policies that come with the package.

    >>> "default" in shipped()
    True
    """
    folder = resources.files("veriward") / "policies"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--policy {path}: cannot be read ({error}); give a readable UTF-8 .toml file") from None
