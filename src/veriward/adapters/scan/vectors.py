"""Support vector machines, whose arrays libsvm reads by each other's sizes without looking.

Source: sklearn/svm/src/libsvm/libsvm_helper.c, `set_model`: coefficients and offsets are taken as many as the classes and
the support vectors announce.
"""

from .arrays import Header

MACHINES = frozenset(f"sklearn.svm._classes.{name}" for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM"))
PARTS = ("support_", "support_vectors_", "_n_support", "_dual_coef_", "_intercept_")


def fit_together(headers: list[Header]) -> bool:
    """Whether the arrays named by PARTS have the sizes that libsvm takes for granted.

    >>> shapes = [(4,), (4, 2), (2,), (1, 4), (1,)]
    >>> fit_together([Header("<f8", shape, 8, False, 128) for shape in shapes])
    True
    """
    support, vectors, counts, coefficients, offsets = (header.shape for header in headers)
    if len(support) != 1 or len(vectors) != 2 or len(counts) != 1:
        return False
    classes, count = counts[0], support[0]
    return vectors[0] == count and coefficients == (classes - 1, count) and offsets == (classes * (classes - 1) // 2,)
