"""`veriward policy show|list|check`: what a policy limits, why, and whether it says what its author meant."""

import json as json_module
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from veriward.cli.app import app
from veriward.cli.options import cells, lang_option, language, padded

if TYPE_CHECKING:
    from veriward.core.policy import Limit, Policy
    from veriward.reports.catalogue import Catalogue

policies = typer.Typer(help="Look at policies: which limits they set, why, and from where.", no_args_is_help=True)
app.add_typer(policies, name="policy")


@policies.command()
def show(
    policy: str = typer.Argument(..., help="The name of a policy, or a .toml file.", metavar="NAME|FILE"),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    lang: str | None = lang_option(),
) -> int:
    """Show the limits of a policy with their reasons and sources."""
    from veriward.core.policy import Policy
    from veriward.reports.catalogue import Catalogue

    words, found = Catalogue.load(language(lang)), Policy.load(policy)
    if json:
        typer.echo(json_module.dumps({**found.to_dict(), "hash": found.hash}, ensure_ascii=False, indent=2))
        return 0
    for line in [_title(found, words), "", *_table(found, words)]:
        typer.echo(line)
    return 0


@policies.command(name="list")
def list_(json: bool = typer.Option(False, "--json", help="Print JSON."), lang: str | None = lang_option()) -> int:
    """List the policies that ship with the package."""
    from veriward.core.policy import Policy, shipped
    from veriward.reports.catalogue import Catalogue

    words = Catalogue.load(language(lang))
    found = [Policy.load(name) for name in shipped()]
    if json:
        rows = [{"name": p.name, "hash": p.hash, "limits": len(p.limit), "description": p.description} for p in found]
        typer.echo(json_module.dumps(rows, ensure_ascii=False, indent=2))
        return 0
    for each in found:
        typer.echo(_title(each, words))
    return 0


@policies.command()
def check(
    policy: str = typer.Argument(..., help="A .toml file, or the name of a policy.", metavar="FILE"),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
    lang: str | None = lang_option(),
) -> int:
    """Check a policy before it is used: mistakes exit with 2; what is legal but doubtful is a warning."""
    from veriward.cli.doubts import doubts
    from veriward.core.policy import Policy
    from veriward.reports.catalogue import Catalogue

    words, found = Catalogue.load(language(lang)), Policy.load(policy)
    names = Catalogue.load("en").terms["metric"]
    doubtful = doubts(found, frozenset(names))
    family = {task: len(found.for_task(task).limit) for task in ("classification", "regression")}
    if json:
        said = [{"limit": number, **doubt.to_dict()} for number, doubt in doubtful]
        body = {
            "policy": found.name,
            "hash": found.hash,
            "limits": len(found.limit),
            "family": family,
            "warnings": said,
        }
        typer.echo(json_module.dumps(body, ensure_ascii=False, indent=2))
        return 0
    typer.echo(_title(found, words))
    for number, doubt in doubtful:
        rule = found.limit[number]
        typer.echo(
            words.text("policy.doubt", n=number + 1, limit=f"{rule.check} {rule.metric}", what=words.note(doubt))
        )
    typer.echo(words.text("policy.family", **family))
    typer.echo(words.text("policy.sound" if not doubtful else "policy.doubtful", n=len(doubtful)))
    return 0


def _title(policy: "Policy", words: "Catalogue") -> str:
    own = policy.description_zh if words.language == "zh" else ""
    described = own or policy.description
    title = words.text("policy.title", name=policy.name, hash=policy.hash[:12], n=len(policy.limit))
    return f"{title} · {described}" if described else title


def _table(policy: "Policy", words: "Catalogue") -> Iterator[str]:
    """Yield one row of columns per limit, and below it what it is about, its reason and its source."""
    rows = [_row(limit, words) for limit in policy.limit]
    heads = [words.text(f"policy.{name}") for name in ("check", "metric", "pass", "fail", "budget", "severity")]
    widths = [max(cells(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    yield _line(heads, widths)
    for limit, row in zip(policy.limit, rows, strict=True):
        yield _line(row, widths)
        yield from (f"    {line}" for line in _below(limit, words) if line)


def _line(row: list[str], widths: list[int]) -> str:
    return "  ".join(padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(limit: "Limit", words: "Catalogue") -> list[str]:
    budget = words.term("budget", limit.sufficient) if limit.sufficient else "–"
    severity = words.term("severity", limit.severity)
    return [limit.check, words.term("metric", limit.metric), str(limit.passes), str(limit.fails), budget, severity]


def _below(limit: "Limit", words: "Catalogue") -> Iterator[str]:
    about = [limit.metric, *(f"{key} = {value}" for key, value in (limit.at or {}).items())]
    about += [words.term("task", limit.task)] if limit.task else []
    yield " · ".join([*about, words.text("policy.optional")] if limit.optional else about)
    chinese = words.language == "zh"
    yield (limit.reason_zh if chinese else "") or limit.reason
    source = (limit.source_zh if chinese else "") or limit.source
    yield words.text("policy.source", source=source) if source else ""
