"""The truth about robustness lies between what is proved and what was broken: certificates and attacks, joined.

certified accuracy <= robust accuracy under every attack <= robust accuracy under the attacks that ran. A row that is both
certified and broken shows that one of the two is wrong: then neither is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from veriward.core.errors import ContradictionError, some
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence

PROOF = "certify/bounds"  # deterministic: a contradiction is an error, not bad luck
ATTACKS = "evasion/"


@dataclass(frozen=True)
class Bracket:
    """What is proved and what was broken under one threat, by finding ids. Row counts are of rows that both looked at."""

    proof: str
    attack: str
    certified: Estimate
    robust: Estimate
    rows: int
    proved: int
    broken: int
    wrong: int  # decided wrongly without any attack
    contradictions: tuple[int, ...]  # rows of the test split that are certified and broken

    @property
    def undecided(self) -> int:
        """Rows that are neither proved nor broken."""
        return self.rows - self.proved - self.broken - self.wrong + len(self.contradictions)


def brackets(evidence: Mapping[str, Evidence]) -> tuple[Bracket, ...]:
    """Return the brackets that evidence by finding id closes: a proof and an attack under the very same threat."""
    proofs = [(name, found) for name, found in evidence.items() if found.check == PROOF]
    attacks = [(name, found) for name, found in evidence.items() if found.check.startswith(ATTACKS)]
    pairs = [
        _join(proof, attack)
        for attack in attacks
        for proof in proofs
        if dict(proof[1].threat.knobs) == dict(attack[1].threat.knobs) and proof[1].threat.goal == attack[1].threat.goal
    ]
    return tuple(pair for pair in pairs if pair is not None)


def _join(proof: tuple[str, Evidence], attack: tuple[str, Evidence]) -> Bracket | None:
    certified = next((e for e in proof[1].estimates if e.metric == "certified_accuracy"), None)
    robust = next((e for e in attack[1].estimates if e.metric == "robust_accuracy"), None)
    if certified is None or robust is None:
        return None
    proved, broken = proof[1].outcomes["certified"], attack[1].outcomes["broken"]
    both = (proved >= 0) & (broken >= 0)
    return Bracket(
        proof[0],
        attack[0],
        certified,
        robust,
        rows=int(both.sum()),
        proved=int((both & (proved == 1)).sum()),
        broken=int((both & (broken == 1)).sum()),
        wrong=int((both & (attack[1].outcomes["correct"] == 0)).sum()),
        contradictions=tuple(int(row) for row in ((proved == 1) & (broken == 1)).nonzero()[0]),
    )


def contradicted(evidence: Mapping[str, Evidence]) -> dict[str, ContradictionError]:
    """Return the findings that contradict another one, each with the error that names the rows.

    Such a finding is an error of ours or of the model's arithmetic, and nothing in it is to be relied upon.
    """
    found: dict[str, ContradictionError] = {}
    for bracket in brackets(evidence):
        if bracket.contradictions:
            rows = some(bracket.contradictions, most=5)
            error = ContradictionError(
                f"{bracket.proof} certifies rows that {bracket.attack} broke: {rows}; one of the two is wrong, "
                "rely on neither and report it"
            )
            found |= {bracket.proof: error, bracket.attack: error}
    return found
