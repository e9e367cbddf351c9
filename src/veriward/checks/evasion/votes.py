"""What a model says that answers by chance: who is fooled by most calls, not by a lucky one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from veriward.checks.evasion.goals import Answer


def confirmed(first: Answer, lucky: Tensor, more: Sequence[Answer]) -> Answer:
    """Return the first answer, with mean margins and the majority's decision for the rows `lucky` that were asked again.

    >>> first = Answer(torch.tensor([2.0, -1.0]), torch.tensor([True, False]))
    >>> no = Answer(torch.tensor([-1.0]), torch.tensor([False]))
    >>> confirmed(first, torch.tensor([0]), [no, no])
    Answer(margin=tensor([ 0., -1.]), fooled=tensor([False, False]))
    """
    margin, fooled = first.margin.clone(), first.fooled.clone()
    margin[lucky] = torch.stack([first.margin[lucky], *(answer.margin for answer in more)]).mean(0)
    votes = torch.stack([first.fooled[lucky], *(answer.fooled for answer in more)])
    fooled[lucky] = votes.sum(0) * 2 > len(votes)
    return replace(first, margin=margin, fooled=fooled)
