"""The pages by their addresses, and who may ask for them: this machine's user, by an address that nobody else knows.

Only GET and HEAD; only under the secret beginning of the address, which other users of the machine cannot guess; only by
the names of this machine (a foreign name that resolves to it is DNS rebinding). No answer may be kept, framed or scripted.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from veriward.core.errors import DossierError
from veriward.reports.view.compare import compare
from veriward.reports.view.explore import row, rows
from veriward.reports.view.listing import listing
from veriward.reports.view.opened import opened
from veriward.reports.view.shelf import Shelf
from veriward.reports.view.site import Site
from veriward.reports.view.there import NotThere
from veriward.reports.wording import harmless

if TYPE_CHECKING:
    pass

Scope = MutableMapping[str, Any]
Send = Callable[[Scope], Awaitable[None]]
Receive = Callable[[], Awaitable[Scope]]
Page = Callable[[Site, dict[str, Any]], str]
STYLES = ("report.css", "view/view.css")
POLICY = (
    "default-src 'none'; style-src {style}; img-src data:; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
METHODS = ("GET", "HEAD")


class Guard:
    """Turns away whoever asks in another way than the page itself does, and marks every answer."""

    def __init__(self, app: Any, secret: str, hosts: Iterable[str]) -> None:
        self._app, self._secret, self._hosts = app, secret.encode(), {host.encode() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the ASGI protocol."""
        if scope["type"] != "http":
            return

        async def marked(message: Scope) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = ((name.encode(), value.encode()) for name, value in HEADERS.items())
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in given)]
            elif scope["method"] == "HEAD":
                message["body"] = b""
            await send(message)

        status = self._refused(scope)
        if status is None:
            await self._app(scope, receive, marked)
            return
        text = {404: b"not found", 405: b"GET or HEAD", 421: b"another host"}[status]
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
        await marked({"type": "http.response.start", "status": status, "headers": headers})
        await marked({"type": "http.response.body", "body": text})

    def _refused(self, scope: Scope) -> int | None:
        """Return the status of a refusal, or None."""
        named = [value.lower() for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1 or named[0] not in self._hosts:
            return 421
        if scope["method"] not in METHODS:
            return 405
        first = scope["path"].split("/")[1] if "/" in scope["path"] else ""
        return None if secrets.compare_digest(first.encode(), self._secret) else 404


def application(shelf: Shelf, *, secret: str, hosts: Iterable[str], lang: str = "en") -> Guard:
    """Return the ASGI application over a shelf; every address begins with /`secret`/."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    def answer(site: Site, make: Callable[[], str], style: str = "'self'", forms: str = "'self'") -> Response:
        status, text = _made(site, make)
        return HTMLResponse(text, status, {"content-security-policy": POLICY.format(style=style, forms=forms)})

    def at(path: str, page: Page, *, style: str = "'self'", forms: str = "'self'") -> Route:
        def endpoint(request: Any) -> Response:
            site = _site(request, secret, lang)
            return answer(site, lambda: page(site, request.path_params), style, forms)

        return Route(f"/{secret}/{path}", endpoint)

    def nowhere(request: Any, _: Exception) -> Response:
        return answer(_site(request, secret, lang), _no_page)

    routes = [
        at("", lambda site, _: listing(site, shelf)),
        at("compare", lambda site, _: compare(site, shelf)),
        # the report brings its styles with it
        at("d/{key}", lambda site, at: opened(site, shelf, at["key"]), style="'self' 'unsafe-inline'", forms="'none'"),
        at("d/{key}/rows/{place}", lambda site, at: rows(site, shelf, at["key"], at["place"])),
        at("d/{key}/row/{place}", lambda site, at: row(site, shelf, at["key"], at["place"])),
        Route(f"/{secret}/style.css", lambda _: Response(_style(), media_type="text/css")),
    ]
    app: Starlette = Starlette(routes=routes, exception_handlers={404: nowhere, 405: nowhere})
    return Guard(app, secret, hosts)


def _site(request: Any, secret: str, lang: str) -> Site:
    path = request.url.path.removeprefix(f"/{secret}").strip("/")
    return Site.of(f"/{secret}", path, dict(request.query_params), lang)


def _no_page() -> str:
    raise NotThere("view.no_page")


def _made(site: Site, make: Callable[[], str]) -> tuple[int, str]:
    """Return the status and the page; whatever a foreign dossier holds, there is an answer."""
    words = site.words
    try:
        return 200, make()
    except NotThere as error:
        return 404, site.fill("message.html.j2", title=words.text("view.no_page"), message=words.text(error.text))
    except DossierError as error:
        return 422, site.fill("message.html.j2", title=words.text("view.not_opened"), message=str(error))
    except Exception as error:
        from logging import getLogger

        getLogger(__name__).error("%s: %s", type(error).__name__, harmless(error)[:200])
        told = words.text("view.crash", kind=type(error).__name__)
        return 500, site.fill("message.html.j2", title=words.text("view.crashed"), message=told)


def _style() -> str:
    folder = resources.files("veriward") / "reports" / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in STYLES)
