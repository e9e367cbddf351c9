"""`veriward demo`: the whole story on data that ships with the package, offline."""

from pathlib import Path

import typer

from veriward.cli.app import app
from veriward.cli.bar import Bar
from veriward.cli.options import lang_option, language
from veriward.cli.render import show

POLICIES = {"digits": "default", "shop": "ecommerce"}


@app.command()
def demo(
    out: Path = typer.Option(Path("veriward-demo"), help="Where to put models, data, dossiers and reports."),
    seed: int = typer.Option(0, help="Of data, training and attacks."),
    lang: str | None = lang_option(),
) -> int:
    """Train two small models and assess both: a digit reader and a shop's purchase model."""
    import veriward
    from veriward.examples import digits, shop
    from veriward.reports.catalogue import Catalogue

    tongue = language(lang)
    words = Catalogue.load(tongue)
    makers = {"digits": digits.write, "shop": shop.write}
    for name, make in makers.items():
        folder = out / name
        subject = folder / "subject.toml"
        if not subject.exists():
            typer.echo(words.text("demo.making", name=name, folder=str(folder)), err=True)
            make(folder, seed)
        with Bar(tongue) as bar, veriward.assess(subject, policy=POLICIES[name], seed=seed, progress=bar) as dossier:
            show(dossier, tongue)
        typer.echo("")
    for name in makers:
        files = [str(path) for path in sorted((out / name).iterdir()) if _worth_naming(path)]
        typer.echo(words.text("demo.files", name=name, files=files))
    return 0


def _worth_naming(path: Path) -> bool:
    return path.suffix in (".toml", ".html", ".ward")
