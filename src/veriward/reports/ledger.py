"""What `veriward epsilon --ledger` prints: the budget of a data set, what is spent, and on what."""

import datetime
from typing import TYPE_CHECKING, Any

from veriward.reports.catalogue import Catalogue
from veriward.reports.privacy_statement import protected
from veriward.reports.whatif import up

if TYPE_CHECKING:
    from veriward.privacy.dp.ledger import Ledger

SCHEMA = "veriward.ledger/1"


def document(ledger: "Ledger") -> dict[str, Any]:
    """Return a ledger as plain data; charges for one purpose are one line."""
    purposes: dict[str, dict[str, Any]] = {}
    for entry in ledger.entries():
        line = purposes.setdefault(entry.what, {"what": entry.what, "charges": 0, "events": 0, "last": ""})
        line["charges"] += 1
        line["events"] += entry.count
        line["last"] = datetime.datetime.fromtimestamp(entry.time, datetime.UTC).isoformat(timespec="seconds")
    epsilon, delta = ledger.budget
    return {
        "schema": SCHEMA,
        "budget": {"epsilon": epsilon, "delta": delta},
        "unit": ledger.unit,
        "relation": ledger.relation.value,
        "spent": ledger.spent,
        "remaining": ledger.remaining,
        "purposes": list(purposes.values()),
    }


def lines(found: dict[str, Any], words: Catalogue) -> list[str]:
    """Return the document as text; what is spent is rounded up, what is left down."""
    spent, budget = up(found["spent"]), found["budget"]["epsilon"]
    told = [
        words.text("ledger.budget", epsilon=f"{budget:g}", delta=f"{found['budget']['delta']:g}"),
        words.text(
            "ledger.unit", unit=protected(found["unit"], words), relation=words.term("relation", found["relation"])
        ),
        words.text("ledger.spent", spent=f"{spent:g}", left=f"{max(0.0, budget - spent):.4g}"),
    ]
    return told + [words.text("ledger.purpose", **line) for line in found["purposes"]]
