"""A browser without a network: one request at a time, straight into an ASGI application, its address taken as it is."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode


@dataclass
class Answer:
    """What came back."""

    status_code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode()


@dataclass
class Browser:
    """Asks `app` under the name `host`."""

    app: Any
    host: str

    def get(self, path: str, query: Mapping[str, object] | None = None, host: str | None = None) -> Answer:
        return self.ask("GET", path, query, host)

    def ask(self, method: str, path: str, query: Mapping[str, object] | None = None, host: str | None = None) -> Answer:
        path, _, asked = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": (urlencode(query) if query else asked).encode(),
            "root_path": "",
            "headers": [(b"host", (self.host if host is None else host).encode())],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
        }
        answer = Answer()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status_code = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            answer.content += message.get("body", b"")

        asyncio.run(self.app(scope, receive, send))
        return answer
