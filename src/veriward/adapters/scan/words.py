"""Lists of names, written as text so that they can be read."""


def words(text: str, prefix: str = "") -> frozenset[str]:
    """The words of a text, each with a prefix.

    >>> sorted(words("b a", "x."))
    ['x.a', 'x.b']
    """
    return frozenset(prefix + word for word in text.split())
