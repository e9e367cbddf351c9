"""Which two data sets a guarantee compares: the same words for events, releases and ledgers."""

from enum import StrEnum


class Relation(StrEnum):
    """What two neighbouring data sets differ in."""

    ADD_OR_REMOVE = "add-or-remove-one"
    REPLACE = "replace-one"
    ZERO_OUT = "zero-out"  # a row is replaced by one that adds nothing to any sum: the number of rows stays
