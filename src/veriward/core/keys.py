"""Ed25519 keys as PEM files, made by `veriward key new` and nowhere else."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from veriward.core.errors import ArtefactError, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def new_key(path: Path) -> Path:
    """Write a private key to `path` (readable by its owner only) and the public one beside it as .pub.

    Returns the path of the public key; raises SettingsError rather than overwrite one.
    """
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_suffix(".pub")
    if public_path == path:
        raise SettingsError(f"{path}: the private key needs another ending than .pub, which the public one gets")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = private.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    for target, data, mode in ((path, pem, 0o600), (public_path, public, 0o644)):
        _write_new(target, data, mode)
    return public_path


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise SettingsError(f"{path}: exists already, and a key is never overwritten; give another --out") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}); give another --out") from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def read_private(path: Path) -> "Ed25519PrivateKey":
    """Return the private key in a PEM file; raises ArtefactError for anything else."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ArtefactError(f"{path}: not a readable private key ({error}); make one with veriward key new") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ArtefactError(f"{path}: not an Ed25519 key; make one with veriward key new")
    return key


def read_public(path: Path) -> "Ed25519PublicKey":
    """Return the public key in a PEM file; raises ArtefactError for anything else."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable public key ({error}); want the .pub of veriward key new") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ArtefactError(f"{path}: not an Ed25519 public key; want the .pub of veriward key new")
    return key


def public_hex(key: "Ed25519PublicKey") -> str:
    """Return the 32 bytes of a public key in hex: the form in which seals and signed lists carry it."""
    from cryptography.hazmat.primitives import serialization as s

    return key.public_bytes(s.Encoding.Raw, s.PublicFormat.Raw).hex()


def is_signed(message: bytes, signature: str, public: str) -> bool:
    """Whether `signature` (hex) is that of `message` under the public key (hex); False for what is no hex.

    >>> is_signed(b"", "00", "no hex")
    False
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
