"""A keyed hash of an identifier: equal values can be told to be equal, and nobody without the key can try values out."""

import hashlib

from veriward.privacy.identifiers.fold import fold

SIZE = 8  # bytes: among a million values, two share a hash in one of 37 million data sets
_SIGNS = str.maketrans("", "", " -()·•・‧∙")


def canonical_value(kind: str, text: str) -> str:
    """Return an identifier as all its spellings have it: "+86 138-1234-5678" and "１３８１２３４５６７８" are one.

    >>> canonical_value("cn_mobile", "+86 138-1234-5678"), canonical_value("cn_id", "11010519491231002x")
    ('13812345678', '11010519491231002X')
    """
    plain = fold(text).text
    if kind in {"email", "ipv6"}:
        return plain.lower()
    plain = plain.translate(_SIGNS).upper()
    if kind == "cn_mobile":
        return plain[-11:]
    return plain.replace(".", "")[-10:] if kind == "us_phone" else plain


def keyed_hash(kind: str, text: str, key: bytes) -> str:
    """Return 16 hexadecimal digits for a value: BLAKE2b (RFC 7693) under a key of 16 to 64 bytes.

    There are 5.5 billion mobile numbers: whoever has the key finds the value by trying all, so the key must be secret.
    Raises ValueError for a shorter key.
    """
    if len(key) < 16:
        raise ValueError(f"key of {len(key)} bytes; want 16 to 64 secret bytes")
    person = kind.encode()[:16]  # the same digits as another kind have another hash
    return hashlib.blake2b(canonical_value(kind, text).encode(), digest_size=SIZE, key=key, person=person).hexdigest()
