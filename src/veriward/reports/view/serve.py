"""The server of the page: on 127.0.0.1 and nowhere else."""

import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from veriward.core.errors import SettingsError
from veriward.reports.view.app import application
from veriward.reports.view.shelf import Shelf

HERE = "127.0.0.1"
SECRET_BYTES = 16
GRACE_SECONDS = 2  # for answers that are under way when the server is to end


def serve(places: Sequence[Path], *, port: int = 0, lang: str = "en", ready: Callable[[str], object]) -> None:
    """Answer until the process is told to end; `ready` gets the address first. `port` 0 takes a free one.

    Raises SettingsError where the port is taken, and KeyboardInterrupt after Ctrl-C.
    """
    import uvicorn

    secret = secrets.token_urlsafe(SECRET_BYTES)
    with _listen(port) as listener:
        port = listener.getsockname()[1]
        hosts = [f"{name}:{port}" for name in (HERE, "localhost")]
        app = application(Shelf(places), secret=secret, hosts=hosts, lang=lang)
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        _warm()
        ready(f"http://{HERE}:{port}/{secret}/")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HERE, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise SettingsError(f"--port {port}: cannot listen there ({error.strerror}); 0 takes a free one") from None
    return listener


def _warm() -> None:
    """Load what draws and counts, which takes a second or two, before a reader waits for a page."""
    from veriward.core.estimate import drop
    from veriward.reports.charts import drawer, strip
    from veriward.reports.view.listing import listing
    from veriward.reports.view.site import Site

    drawer()(strip(drop("drop", 1, 1, 10), None, (-1.0, 1.0)), "")
    listing(Site.of("", "", {}, "en"), Shelf([]))
