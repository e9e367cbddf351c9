"""What a model says that answers by chance: the mean margin, and the decision of most calls."""

from collections.abc import Sequence

import torch

from veriward.checks.evasion.goals import Answer


def majority(answers: Sequence[Answer]) -> Answer:
    """Return one answer for several to the same candidates: a lucky draw is no success.

    >>> calls = [Answer(torch.tensor([m]), torch.tensor([m > 0])) for m in (-1.0, 2.0, 2.0)]
    >>> majority(calls)
    Answer(margin=tensor([1.]), fooled=tensor([True]))
    """
    if len(answers) == 1:
        return answers[0]
    fooled = torch.stack([answer.fooled for answer in answers])
    return Answer(torch.stack([answer.margin for answer in answers]).mean(0), fooled.sum(0) * 2 > len(answers))
