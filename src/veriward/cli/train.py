"""`veriward train SUBJECT --private`: a model whose training rows are protected, with the record that says how far."""

import json as json_module
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from veriward.cli.app import app
from veriward.cli.options import lang_option, language
from veriward.cli.render import announce_code
from veriward.core.errors import SettingsError

if TYPE_CHECKING:
    from veriward.core.subject import Subject
    from veriward.remedies.private_run import Moment
    from veriward.remedies.private_training import PrivateModel
    from veriward.reports.catalogue import Catalogue


BROKEN = 1  # our own trainer does not keep what it claims


@app.command()
def train(
    subject: Path = typer.Argument(..., help="A subject.toml with a recipe, or its folder.", metavar="SUBJECT"),
    private: bool = typer.Option(False, "--private", help="With differential privacy (DP-SGD)."),
    epsilon: float | None = typer.Option(None, help="What the training may cost; smaller protects more."),
    delta: float | None = typer.Option(None, help="Well below 1/rows; default: the one claimed."),
    out: Path | None = typer.Option(None, help="The new subject's folder; default: NAME-private.", metavar="FOLDER"),
    rows: int | None = typer.Option(None, help="About how many training rows, as anybody may know; hides the number."),
    batch_size: int | None = typer.Option(None, help="Rows in a batch, on average; default: the recipe's."),
    epochs: int | None = typer.Option(None, help="Passes over the data; default: the recipe's."),
    learning_rate: float | None = typer.Option(None, help="Default: the recipe's."),
    sampling: str | None = typer.Option(None, help="How batches are drawn: poisson, shuffled, fixed or full."),
    clip: str | None = typer.Option(None, help="A norm, automatic or adaptive; default: automatic."),
    mechanism: str | None = typer.Option(None, help="gaussian, laplace, or for one order of batches tree or banded."),
    noise: float | None = typer.Option(None, help="Noise multiplier; default: the least that epsilon allows."),
    group: int | None = typer.Option(None, help="Rows of one person, protected together."),
    ledger: Path | None = typer.Option(
        None, help="An open budget for all that is done with these rows.", metavar="FILE"
    ),
    budget: float | None = typer.Option(None, help="The epsilon of a new --ledger."),
    fix: bool = typer.Option(False, "--fix", help="Replace layers that mix rows, such as BatchNorm."),
    search: str | None = typer.Option(
        None, help="Settings to choose among, e.g. 'learning_rate=0.01,0.1;clip=1,automatic'; epsilon pays for all."
    ),
    search_by: str = typer.Option(
        "all", help="all, random (stopping at random), or public (the choice reads data.test)."
    ),
    audit: bool = typer.Option(
        False, "--audit", help="Audit the trainer with canaries; takes about three times as long."
    ),
    seed: int = typer.Option(0, help="Of the first weights; noise takes none."),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    compute: str = typer.Option("exact", help="exact, or bfloat16 for the passes through the network."),
    fresh: bool = typer.Option(False, "--fresh", help="Train anew, and spend again; old folders are renamed."),
    no_code: bool = typer.Option(False, "--no-code", help="Refuse to run Python files that the subject names."),
    seal: Path | None = typer.Option(None, help="Sign the new folder with this private key.", metavar="KEY"),
    json: bool = typer.Option(False, "--json", help="Print the record."),
    lang: str | None = lang_option(),
) -> int:
    """Train the recipe privately and write model, claims, record and statement. Run it again to go on."""
    from veriward.core.subject import Subject
    from veriward.remedies.private_training import train as run
    from veriward.reports.catalogue import Catalogue

    words, described = Catalogue.load(language(lang)), Subject.load(subject)
    if not private or epsilon is None:
        raise SettingsError("train: this version trains privately; want --private --epsilon 3 --delta 1e-5")
    _prepare(described, words, out, seal, fresh=fresh, code=not no_code)
    terms: dict[str, Any] = {
        "sampling": sampling,
        "rows": rows,
        "batch_size": batch_size,
        "epochs": epochs,
        "group": group,
    }
    terms |= {"learning_rate": learning_rate, "clip": _clip(clip), "mechanism": mechanism, "noise_multiplier": noise}
    found = run(
        described,
        epsilon=epsilon,
        delta=delta,
        out=out,
        seed=seed,
        device=device,
        compute=compute,
        account=ledger,
        budget=budget,
        fix=fix,
        code=not no_code,
        search=search,
        search_by=search_by,
        audit=audit,
        watch=_Teller(words),
        **terms,
    )
    _tell(found, words, seal, json=json)
    return BROKEN if found.record.get("audit", {}).get("verdict") == "broken" else 0


def _prepare(
    subject: "Subject", words: "Catalogue", out: Path | None, seal: Path | None, *, fresh: bool, code: bool
) -> None:
    """Do what comes before a training: read the key that seals, rename what was there, name the code that will run."""
    from veriward.adapters.code import listed_recipe
    from veriward.core.keys import read_private
    from veriward.remedies.private_training import places

    if seal is not None:
        read_private(seal)  # a key that cannot be read shows now, not after hours
    if fresh:
        _set_aside(*places(subject, out))
    if code:
        announce_code(listed_recipe(subject), words)


def _short(path: Path) -> str:
    """Return a path as seen from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


class _Teller:
    """Tells on stderr how far a training is; on a terminal the line is written over."""

    def __init__(self, words: "Catalogue") -> None:
        self._words = words

    def __call__(self, moment: "Moment") -> None:
        from veriward.reports.whatif import up

        line = self._words.text(
            "privacy.moment",
            steps=moment.steps,
            total=moment.total,
            epsilon=f"{up(moment.epsilon, 3):g}",
            clipped=self._words.percent(moment.clip_fraction),
            left=round(moment.seconds_left),
        )
        over = sys.stderr.isatty() and moment.steps < moment.total
        typer.echo(f"{line}\x1b[K\r" if over else line, nl=not over, err=True)


def _clip(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _set_aside(*folders: Path) -> None:
    """Rename folders out of the way; nothing is deleted, least of all a ledger."""
    for folder in folders:
        if folder.exists():
            number = next(n for n in range(1, 10_000) if not folder.with_name(f"{folder.name}.old{n}").exists())
            folder.rename(folder.with_name(f"{folder.name}.old{number}"))


def _tell(found: "PrivateModel", words: "Catalogue", seal: Path | None, *, json: bool) -> None:
    from veriward.reports.catalogue import Catalogue
    from veriward.reports.privacy_statement import FILES, lines, statement
    from veriward.reports.write import write_text

    for tongue, name in FILES.items():
        write_text(statement(found.record, Catalogue.load(tongue)), found.folder / name)
    told = [("privacy.written", found.folder), ("privacy.keep", found.holder)]
    if seal is not None:
        from veriward.core.manifest import sign_folder

        path, _ = sign_folder(found.folder, seal, time=found.record["time"], force=True)
        told.append(("privacy.sealed", path))
    if json:
        typer.echo(json_module.dumps(found.record, ensure_ascii=False, indent=2))
        return
    if found.finished.went_on and not found.finished.new_steps:
        typer.echo(words.text("privacy.finished"), err=True)
    for line in lines(found.record, words):
        typer.echo(line)
    for each in found.holder_notes:
        typer.echo(words.text("privacy.holder_note", text=words.note(each)))
    seen = found.finished.seen
    typer.echo(words.text("privacy.holder", clipped=words.percent(seen.clip_fraction), zeroed=seen.bad))
    for key, path in (*told, ("privacy.next", found.folder)):
        typer.echo(words.text(key, path=_short(path)))
