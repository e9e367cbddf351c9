"""Differential privacy: released statistics, accounting, a ledger, private training. Importing this imports nothing heavy.

>>> sorted(set(__all__) & {"epsilon", "Ledger", "laplace"})
['Ledger', 'epsilon', 'laplace']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriward.privacy.dp.accounting import composed, delta, epsilon, noise_multiplier, steps, training
    from veriward.privacy.dp.ledger import Ledger

# In which module a name lives: it is loaded when somebody asks for the name.
_HOME = {
    **dict.fromkeys(("composed", "delta", "epsilon", "noise_multiplier", "steps", "training"), "accounting"),
    "Ledger": "ledger",
    **dict.fromkeys(("count", "gaussian", "histogram", "laplace", "mean", "outside", "quantile", "sum"), "release"),
    "Relation": "relation",
    "Released": "released",
    **dict.fromkeys(("SecureSource", "SimulatedSource", "Source"), "noise"),
    **dict.fromkeys(("DiscreteGaussian", "DiscreteLaplace", "Gaussian", "Laplace"), "mechanisms"),
    **dict.fromkeys(("Exponential", "RandomisedResponse", "ReportNoisyMax"), "selection"),
    "AboveThreshold": "sparse",
    **dict.fromkeys(("Cyclic", "Fixed", "Full", "Poisson", "Shuffled"), "sampling"),
    **dict.fromkeys(("GaussianNoise", "LaplaceNoise"), "step_noise"),
    **dict.fromkeys(("BandedNoise", "TreeNoise"), "ftrl"),
    **dict.fromkeys(("Trainings", "plan_all", "plan_public", "plan_random"), "search"),
    **dict.fromkeys(("ConfidentGNMax", "GNMax", "LNMax"), "votes"),
    "PrivateTraining": "dp_sgd",
    "ParallelTraining": "parallel",
    "Trained": "terms",
}
__all__ = ["Ledger", "composed", "delta", "epsilon", "noise_multiplier", "steps", "training"]
__all__ += ["count", "gaussian", "histogram", "laplace", "mean", "outside", "quantile", "sum"]
__all__ += ["AboveThreshold", "Relation", "Released", "SecureSource", "SimulatedSource", "Source"]
__all__ += ["DiscreteGaussian", "DiscreteLaplace", "Gaussian", "Laplace"]
__all__ += ["Exponential", "RandomisedResponse", "ReportNoisyMax"]
__all__ += ["Cyclic", "Fixed", "Full", "ParallelTraining", "Poisson", "PrivateTraining", "Shuffled", "Trained"]
__all__ += ["BandedNoise", "GaussianNoise", "LaplaceNoise", "TreeNoise"]
__all__ += ["ConfidentGNMax", "GNMax", "LNMax", "Trainings", "plan_all", "plan_public", "plan_random"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'veriward.privacy.dp' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}"
        )
    return getattr(import_module(f"veriward.privacy.dp.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
