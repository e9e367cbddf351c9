"""Known findings that somebody answers for until a day: reason, owner and expiry are needed, nothing else is known."""

import datetime
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from veriward.core.errors import SettingsError
from veriward.core.explain_validation import explain
from veriward.core.finding import Finding, Judged


class Waiver(BaseModel):
    """One waived finding; `metric` narrows it to one limit. A waiver never covers a drop against a baseline.

    >>> Waiver(finding="evasion/*", reason="v2 in May", owner="Li", expires="2027-05-01").expires.year
    2027
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: str = Field(min_length=1)
    metric: str | None = None
    reason: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    expires: datetime.date  # the last day on which it holds

    def covers(self, finding: Finding, limit: Judged | None) -> bool:
        """Return whether it speaks of a finding's limit; None is a check that raised or that no limit judged."""
        metric = None if limit is None else limit.metric
        return fnmatchcase(finding.id, self.finding) and self.metric in (None, metric)

    def expired(self, today: datetime.date) -> bool:
        """Return whether its last day is over."""
        return today > self.expires


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    waiver: tuple[Waiver, ...] = ()


def load_waivers(path: Path) -> Sequence[Waiver]:
    """Read `[[waiver]]` tables; SettingsError names every unknown key, every missing one, and the choices."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).waiver
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--waivers {path}: cannot be read ({error}); give a readable UTF-8 .toml file") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--waivers {path}: not valid TOML: {error}; want [[waiver]] tables") from None
    except ValidationError as error:
        raise SettingsError(explain(f"--waivers {path}", error, _File)) from None
