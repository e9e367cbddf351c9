"""The report for pull requests: GitHub-flavoured Markdown, the verdict first, the details folded.

Names of columns, groups and files are somebody else's: `escaped` keeps them from becoming links, pictures, HTML,
mentions or references to issues.
"""

import re
from collections.abc import Sequence

from veriward.core.dossier import Dossier
from veriward.core.finding import Finding, Judged
from veriward.reports.advice import actions
from veriward.reports.bracket import bracket_of, shown
from veriward.reports.catalogue import Catalogue
from veriward.reports.clauses import standards_told
from veriward.reports.executive import attacks, cost
from veriward.reports.headline import MARKERS, estimate_of, headline, worst_first
from veriward.reports.numbers import SPACE, condition, interval, point
from veriward.reports.page import count, facts, identity, seal
from veriward.reports.section import MOST_WITNESSES, reason
from veriward.reports.story import story
from veriward.reports.wording import clipped, harmless, label, question, why_open, witness_text, would_decide

SIGNS = re.compile(r"([\\`*_{}\[\]|<>~$&])")
OPENING = re.compile(r"^(?:(\d+)(?=[.)](?: |$))|(?=[-+#=]))")  # of a list or a heading
ACTIVE = re.compile(r"@(?=\w)|(?<=:)//|(?<=\bwww)\.|(?<=\b[Gg][Hh])-(?=\d)|#(?=\d)")
BREAK = "\u200b"  # of no width: it keeps "@name" from calling somebody
MOST_LIMITS = 30
LONGEST = 400


def build(dossier: Dossier, lang: str = "en") -> str:
    """Return the report as Markdown."""
    words = Catalogue.load(lang)
    parts = [
        *_head(dossier, words),
        *_findings(dossier, words),
        *_cheapest(dossier, words),
        *_first(dossier, words),
        *_gaps(dossier, words),
        *(line for finding in worst_first(dossier) for line in _details(dossier, finding, words)),
        *_standards(dossier, words),
        *_identity(dossier, words),
    ]
    return "\n".join(parts).replace(SPACE, " ").rstrip() + "\n"


def escaped(text: object) -> str:
    """Return a text in which nothing is markup, on one line.

    >>> escaped("a|b <img> @all").replace(BREAK, "?")
    'a\\\\|b &lt;img&gt; @?all'
    """
    plain = ACTIVE.sub(lambda match: match[0] + BREAK if match[0] in "@#" else BREAK + match[0], _line(text))
    signed = re.sub(
        r"^(?:(\d+)(?=[.)](?: |$))|(?=[-+#=]))", r"\1\\", SIGNS.sub(r"\\\1", plain)
    )  # no heading, no list at its start
    return signed.replace("\\&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")


def code(text: object) -> str:
    """Return a text as code, fit for a cell of a table too; its backticks need a longer fence.

    >>> code("a`b")
    '``a`b``'
    """
    plain = _line(text).replace("|", "\\|") or " "
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    edge = " " if plain[0] == "`" or plain[-1] == "`" else ""
    return f"{fence}{edge}{plain}{edge}{fence}"


def _line(text: object) -> str:
    return clipped(harmless(re.sub(r"\s+", " ", str(text).replace(SPACE, " "))).strip(), LONGEST)


def _fenced(command: str) -> list[str]:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", command)), 3)
    return ["", f"{fence}sh", harmless(command), fence]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return [lines[0], lines[1], *lines[2:], ""]


def _head(dossier: Dossier, words: Catalogue) -> list[str]:
    name, verdict = escaped(dossier.subject["name"]), words.term("verdict", dossier.verdict)
    title = f"## {MARKERS[dossier.verdict]} {name}{words.text('list.colon')}{verdict} · {count(dossier, words)}"
    lines = [title, "", escaped(story(dossier, words)), "", escaped(" · ".join(facts(dossier, words))), ""]
    if not dossier.finished:
        lines += [f"**{words.text('page.unfinished')}**", ""]
    return lines


def _findings(dossier: Dossier, words: Catalogue) -> list[str]:
    rows = [_row(dossier, finding, words) for finding in dossier]
    heads = ["check", "measured", "limit", "verdict", "what_decides"]
    return _table(["", *(words.text(f"page.{head}") for head in heads)], rows) if rows else []


def _row(dossier: Dossier, finding: Finding, words: Catalogue) -> list[str]:
    top = headline(finding)
    limit = top.limit if top else None
    measured = "–"
    if top:
        number = f"{point(top.estimate)} {interval(top.estimate)}".strip()
        measured = f"{escaped(label(top.estimate.metric, top.estimate.at, words))} **{escaped(number)}**"
    verdict = words.term("verdict", finding.verdict)
    shown = f"**{verdict}**" if finding.verdict in ("fail", "error") else verdict
    wanted = escaped(condition(limit.pass_if)) if limit else ""
    why = escaped(why_open(finding, limit, words, dossier.policy))
    return [MARKERS[finding.verdict], code(finding.id), measured, wanted, shown, why]


def _cheapest(dossier: Dossier, words: Catalogue) -> list[str]:
    found = attacks(dossier, words)
    if not found:
        return []
    lines = [f"### {words.text('page.cheapest')}", ""]
    for attack in found:
        told = [f"{words.text('page.row')} {attack['row']}", attack["became"]]
        lines.append(f"- {code(attack['id'])} {escaped(attack['text'])} · {escaped(' · '.join(t for t in told if t))}")
    return [*lines, ""]


def _first(dossier: Dossier, words: Catalogue) -> list[str]:
    lines = [f"### {words.text('page.first')}", ""]
    found = actions(dossier)
    for place, action in enumerate(found, 1):
        lines.append(f"{place}. {escaped(action.text(words))}")
        if action.command:
            lines += ["   " + line if line else "" for line in _fenced(action.command)]
    if any(action.command for action in found):
        lines += ["", escaped(words.text("page.where", dossier=dossier.path.name))]
    return [*lines, ""]


def _gaps(dossier: Dossier, words: Catalogue) -> list[str]:
    lines = [f"### {words.text('page.not_tested')}", ""]
    lines += [f"- **{code(f.id)}** {escaped(words.term('error', f.error))}" for f in dossier if f.error]
    lines += [f"- {code(item['check'])} {escaped(words.note(item['reason']))}" for item in dossier.not_run]
    for finding in dossier:
        left = [words.note(note) for note in finding.evidence.untested] if finding.evidence else []
        if left:
            told = escaped(words.text("list.semicolon").join(left))
            lines.append(f"- {words.text('page.within')} {code(finding.id)} {told}")
    if len(lines) == 2:
        lines.append(words.text("page.nothing_skipped"))
    return [*lines, ""]


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _details(dossier: Dossier, finding: Finding, words: Catalogue) -> list[str]:
    """Return what stands behind a finding that has limits or evidence worth telling."""
    lines = [escaped(question(finding, words)), ""]
    lines += _bracket(dossier, finding, words)
    if finding.limits:
        heads = ["metric", "measured", "pass_if", "fail_if", "verdict", "what_decides"]
        rows = [_limit(dossier, finding, limit, words) for limit in finding.limits[:MOST_LIMITS]]
        lines += _table([words.text(f"page.{head}") for head in heads], rows)
        more = len(finding.limits) - len(rows)
        lines += [escaped(words.text("page.more", n=more)), ""] if more else []
        told = dict.fromkeys(reason(limit, words) for limit in finding.limits if limit.reason)
        lines += [f"- {escaped(why)}{_source(source, words)}" for why, source in told]
        lines.append("")
    if finding.evidence:
        lines += [f"- **{words.text('page.alarms')}** {escaped(words.note(a))}" for a in finding.evidence.alarms]
        witnesses = [w for w in finding.evidence.witnesses if w.text][:MOST_WITNESSES]
        lines += [
            f"- {words.text('page.row')} {w.row}{words.text('list.colon')}{escaped(witness_text(w, words))}"
            for w in witnesses
        ]
    title = f"{MARKERS[finding.verdict]} {_html(finding.id)} · {words.term('verdict', finding.verdict)}"
    return _folded(title, lines)


def _bracket(dossier: Dossier, finding: Finding, words: Catalogue) -> list[str]:
    pair = bracket_of(dossier, finding)
    if pair is None:
        return []
    told = shown(pair, words)
    title = f"**{words.text('bracket.title')}**{words.text('list.colon')}{escaped(told.sentence)}"
    return [title, "", escaped(words.text("bracket.rows", counts=told.counts)), ""]


def _limit(dossier: Dossier, finding: Finding, limit: Judged, words: Catalogue) -> list[str]:
    estimate = estimate_of(finding, limit)
    measured = f"{point(estimate)} {interval(estimate)}".strip() if estimate else "–"
    decides = would_decide(finding, limit, words, dossier.policy) or words.term("why", limit.why)
    shown = [label(limit.metric, limit.at, words), measured, condition(limit.pass_if), condition(limit.fail_if)]
    return [escaped(text) for text in (*shown, words.term("verdict", limit.verdict), decides)]


def _source(source: str, words: Catalogue) -> str:
    return escaped(words.text("page.source", source=source)) if source else ""


def _standards(dossier: Dossier, words: Catalogue) -> list[str]:
    heads = [words.text("standards.clause"), words.text("standards.evidence"), words.text("page.not_tested")]
    lines = [words.text("standards.caveat"), ""]
    for standard in standards_told(dossier, words):
        lines += [f"**{standard['name']}** {standard['version']} · {standard['tally']}", ""]
        rows = []
        for clause in standard["clauses"]:
            spoken = [f"{f['marker']} {f['word']} {code(f['id'])}" for f in clause["findings"]]
            cells = "<br>".join(spoken) or words.text("standards.none")
            gaps = "<br>".join(escaped(gap) for gap in clause["gaps"])
            rows.append([f"**{escaped(clause['code'])}** {escaped(clause['title'])}", cells, gaps])
        lines += _table(heads, rows)
    return _folded(words.text("page.standards"), lines)


def _identity(dossier: Dossier, words: Catalogue) -> list[str]:
    rows = [[words.text(key), code(file) if file else "", code(value)] for key, file, value in identity(dossier)]
    heads = [words.text("page.name"), words.text("page.file"), "SHA-256"]
    told = [*cost(dossier, words), seal(dossier, words), words.text("page.caveat")]
    return _folded(words.text("page.identity"), [*_table(heads, rows), *(f"{escaped(line)}  " for line in told)])


def _html(text: object) -> str:
    """Return a text for the summary line, which is HTML: no markup is read there, but mentions are."""
    plain = ACTIVE.sub(lambda match: match[0] + BREAK if match[0] in "@#" else BREAK + match[0], _line(text))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
