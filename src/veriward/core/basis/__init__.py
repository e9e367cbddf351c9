"""From the counts behind a number to its interval and its exact p-values, at any level.

A basis is plain data, so a dossier can be judged again under another policy. One file per kind:

- `{"kind": "binomial", "k": 31, "n": 100}`: a share of independent rows;
- `{"kind": "tested", "k": 31, "n": 100, "false_yes": .001, "false_no": 0}`: one of rows told by a test that errs;
- `{"kind": "paired", "b": 40, "c": 20, "n": 900}`: b rows got worse and c better between two answers to the same rows;
- `{"kind": "gap", "families": [[[k, n], ...], ...]}`: the largest gap between the shares of groups;
- `{"kind": "worst", "groups": [[k, n], ...]}`: the smallest share of many groups that may overlap;
- `{"kind": "flags", "p": [...], "of": 40, "n": 900}`: how many of 40 suspicions hold, by their adjusted p-values;
- `{"kind": "roc", ...}`: a true positive rate at a false positive rate (see `operating.counts`);
- `{"kind": "binned", "bins": [[k, n, predicted], ...]}`: a calibration error;
- `{"kind": "mean", "value": .7, "se": .02, "n": 500}`: a mean, by Student's t;
- `{"kind": "means", "groups": [[mean, se, n], ...]}`: the largest gap between the means of groups;
- `{"kind": "normal", "value": .7, "se": .02, "n": 500}`: an estimate with a standard error;
- `{"kind": "quantile", "q": .95, "n": 500, "values": [[rank, value], ...]}`: a quantile, by order statistics;
- `{"kind": "census", "value": 3}`: a counted fact.

Any kind may carry `"power"`: the chance that these rows would have shown what the limit is about. Below .9 nothing passes.
"""

from veriward.core.basis.kind import SMALLEST_LEVEL, Basis
from veriward.core.basis.kinds import interval, p_above, p_below, reach, rows, scaled, value

__all__ = ["SMALLEST_LEVEL", "Basis", "interval", "p_above", "p_below", "reach", "rows", "scaled", "value"]
