"""Which entries of public lists a finding belongs to. The map, with the version of each list, is `standards.toml`."""

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

from veriward.core.finding import Finding


def standards(finding: Finding) -> list[dict[str, str]]:
    """Return list, version, code and title of each entry, in the order of the map."""
    data = _load()
    access = finding.evidence.threat.access if finding.evidence else None
    found = []
    for item in data["entry"]:
        if fnmatchcase(finding.check, item["check"]) and access in item.get("access", [access]):
            source = data["list"][item["list"]]
            titles = {"title": item["title"], "title_zh": item["title_zh"]}
            version = item.get("version", source["version"])  # a list of standards has an edition per entry
            found.append({"list": source["name"], "version": version, "code": item["code"], **titles})
    return found


@cache
def _load() -> dict[str, Any]:
    source = resources.files("veriward") / "reports" / "standards.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))
