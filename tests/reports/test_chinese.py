"""A Chinese reader finds no English but identifiers."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from veriward.core.dossier import Dossier
from veriward.reports import junit, markdown, sarif
from veriward.reports.html import render
from veriward.reports.terminal import summary

from .fixtures import ALL, EVERY_FAMILY, write
from .latin import english

FOREIGN = """income age months gender region sex south yes no residual gaussian noise missing opcode pgd square pixels moved
by at most question rough early nothing killed sound DataError groups column integer numeric holds one value
planted"""  # what the subject or an unknown check says, not the report


def of_html(dossier: Dossier) -> str:
    page = render(dossier, "zh")
    page = re.sub(r"<style>.*?</style>|<pre class=.command.>.*?</pre>|<svg.*?</svg>", " ", page, flags=re.DOTALL)
    spoken = " ".join(re.findall(r'(?:aria-label|title|data-name)="([^"]*)"', page))
    return html.unescape(re.sub(r"<[^>]*>", " ", page) + spoken)


def of_markdown(dossier: Dossier) -> str:
    text = re.sub(r"```.*?```", "", markdown.build(dossier, "zh"), flags=re.DOTALL)
    return html.unescape(re.sub(r"`[^`\n]*`|</?(?:details|summary|br)>", " ", text).replace("\\", ""))


def of_junit(dossier: Dossier) -> str:
    root = ET.fromstring(junit.build(dossier, "zh"))
    told = [child for case in root.iter("testcase") for child in case]
    return " ".join(f"{child.get('message', '')} {child.text}" for child in [*told, *root.iter("system-out")])


def of_sarif(dossier: Dossier) -> str:
    def texts(value: Any, key: str = "") -> Iterator[str]:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if name == "text":
                yield item
            elif isinstance(item, dict | list):
                yield from texts(item)

    return " ".join(texts(json.loads(json.dumps(sarif.build(dossier, "zh")))))


@pytest.mark.parametrize("name", ["rich", "shop", "several_eps", "broken", "one_sided", "empty", "unjudged"])
@pytest.mark.parametrize("read", [of_html, of_markdown, of_junit, of_sarif], ids=lambda read: read.__name__)
def test_no_english_but_identifiers(tmp_path: Path, read: Any, name: str) -> None:
    draft = replace(ALL[name](), policy=EVERY_FAMILY)  # whose reasons and sources are Chinese
    with write(tmp_path / f"{name}.ward", draft) as dossier:
        assert english(read(dossier), FOREIGN) == []


def test_the_terminal_too(make: Any) -> None:
    text = re.sub(r".*veriward .*", "", summary(make("rich"), "zh", 120, report_path="x.zh.html"))
    assert english(text, FOREIGN) == []
