"""The value of a header that must stand nowhere else: read from the environment, shown to nobody but the server."""

import os

from veriward.core.endpoint import Endpoint
from veriward.core.errors import SettingsError


class Credential:
    """One header of every request, or none.

    >>> Credential(Endpoint()).headers()
    {}
    """

    __slots__ = ("_header", "_value", "_variable")

    def __init__(self, endpoint: Endpoint) -> None:
        self._header, self._variable = endpoint.header, endpoint.token
        self._value = _read(endpoint.token) if endpoint.token else ""

    def __repr__(self) -> str:
        return f"Credential({self._header!r}, {self._variable!r})"

    def headers(self) -> dict[str, str]:
        """Return the header for a request."""
        return {self._header: self._value} if self._value else {}

    def words(self) -> str:
        """Return what was sent, without its value, and what to do about a refusal."""
        if not self._variable:
            return f"no token was sent: name its environment variable in model.endpoint.token ({self._header})"
        return (
            f"the header {self._header} was sent with the value of ${self._variable}: is that the whole, valid value?"
        )

    def stands_in(self, body: bytes) -> bool:
        """Whether an answer repeats the value, or its last part ("Bearer …")."""
        return any(secret.encode() in body for secret in self._secrets())

    def _secrets(self) -> tuple[str, ...]:
        return (self._value, self._value.rpartition(" ")[2]) if self._value else ()

    def hide(self, text: str) -> str:
        """Return a server's words without the value: some servers repeat what came. To be done before they are cut."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text


def _read(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise SettingsError(
            f"model.endpoint.token: the environment variable {variable} is not set; "
            f"export {variable}='Bearer …', the header's whole value"
        )
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise SettingsError(
            f"model.endpoint.token: the value of {variable} holds line ends, blanks at an end or characters that no "
            "header carries; want printable ASCII"
        )
    return value
