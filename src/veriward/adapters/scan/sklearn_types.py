"""The allowlist of skops files: which types each kind of node may name.

skops rebuilds an object by `cls.__new__` and then `__setstate__` or its attributes, so what counts is that these run
no code that the file chooses. Each group says why it is harmless. A type that is not here is `unknown`.
"""

from .words import words

# Containers: filled item by item. key types of dicts are called with the text of a key, so they are only these.
DICTS = words("builtins.dict collections.OrderedDict sklearn.utils._bunch.Bunch")
LISTS = words("builtins.list")
SETS = words("builtins.set builtins.frozenset")
TUPLES = words("builtins.tuple")
NUMPY_SCALARS = words(
    """
    bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 longdouble
    complex64 complex128 str_ bytes_ datetime64 timedelta64 intp uintp longlong ulonglong
    """,
    "numpy.",
)
KEY_TYPES = words("str int float bool NoneType", "builtins.") | NUMPY_SCALARS
TYPES = words("str int float bool list tuple set dict map object", "builtins.") | NUMPY_SCALARS

# Arrays and generators: numpy checks what it is given; no pickle is read inside them.
ARRAYS = words("numpy.ndarray") | NUMPY_SCALARS
MASKED = words("numpy.ma.MaskedArray numpy.ma.core.MaskedArray")
RANDOM_STATES = words("numpy.random.mtrand.RandomState")
GENERATORS = words("numpy.random._generator.Generator")
BIT_GENERATORS = words("PCG64 PCG64DXSM MT19937 Philox SFC64")
DTYPES = words("numpy.dtype")
SPARSE = words(
    """
    _csr.csr_matrix _csc.csc_matrix _coo.coo_matrix _bsr.bsr_matrix _dia.dia_matrix
    _csr.csr_array _csc.csc_array _coo.coo_array _bsr.bsr_array _dia.dia_array
    """,
    "scipy.sparse.",
)

# Functions of numbers: they compute from what they are given and touch nothing else.
_UFUNCS = """
    absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil conjugate cos cosh deg2rad degrees
    divide exp exp2 expm1 fabs float_power floor floor_divide fmax fmin fmod hypot isfinite isinf isnan log log10 log1p
    log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod multiply negative
    positive power rad2deg radians reciprocal remainder rint sign signbit sin sinh sqrt square subtract tan tanh
    true_divide trunc
"""
FUNCTIONS = (
    words(_UFUNCS, "numpy.")
    | words(_UFUNCS, "numpy._core._multiarray_umath.")
    | words(_UFUNCS, "numpy.core._multiarray_umath.")
    | words("mean median sum std var min max amin amax nan_to_num clip round ravel abs", "numpy.")
    | words("expit logit log1p expm1 erf erfinv boxcox1p inv_boxcox1p inv_boxcox boxcox", "scipy.special.")
    | words("expit logit log1p expm1 erf erfinv boxcox1p inv_boxcox1p", "scipy.special._ufuncs.")
    | words("sklearn.utils.validation.check_array")
)

# Compiled losses: a few numbers, given to the constructor of the same type.
LOSSES = words(
    """
    _loss._loss.CyAbsoluteError _loss._loss.CyExponentialLoss _loss._loss.CyHalfBinomialLoss
    _loss._loss.CyHalfGammaLoss _loss._loss.CyHalfMultinomialLoss _loss._loss.CyHalfPoissonLoss
    _loss._loss.CyHalfSquaredError _loss._loss.CyHalfTweedieLoss _loss._loss.CyHalfTweedieLossIdentity
    _loss._loss.CyHuberLoss _loss._loss.CyPinballLoss
    linear_model._sgd_fast.EpsilonInsensitive linear_model._sgd_fast.Hinge linear_model._sgd_fast.Huber
    linear_model._sgd_fast.Log linear_model._sgd_fast.ModifiedHuber linear_model._sgd_fast.SquaredEpsilonInsensitive
    linear_model._sgd_fast.SquaredHinge linear_model._sgd_fast.SquaredLoss
    """,
    "sklearn.",
)

# Compiled trees: the constructor allocates, __setstate__ copies arrays in. Their indices are checked in trees.py.
TREES = words("sklearn.tree._tree.Tree")
PREDICTORS = words("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")

# Linear models: coefficients and parameters in __dict__; BaseEstimator.__setstate__ only compares versions.
_LINEAR = words(
    """
    _base.LinearRegression _bayes.ARDRegression _bayes.BayesianRidge _coordinate_descent.ElasticNet
    _coordinate_descent.ElasticNetCV _coordinate_descent.Lasso _coordinate_descent.LassoCV
    _coordinate_descent.MultiTaskElasticNet _coordinate_descent.MultiTaskLasso _glm.glm.GammaRegressor
    _glm.glm.PoissonRegressor _glm.glm.TweedieRegressor _huber.HuberRegressor _least_angle.Lars _least_angle.LarsCV
    _least_angle.LassoLars _least_angle.LassoLarsCV _least_angle.LassoLarsIC _logistic.LogisticRegression
    _logistic.LogisticRegressionCV _omp.OrthogonalMatchingPursuit _omp.OrthogonalMatchingPursuitCV
    _passive_aggressive.PassiveAggressiveClassifier _passive_aggressive.PassiveAggressiveRegressor
    _perceptron.Perceptron _quantile.QuantileRegressor _ransac.RANSACRegressor _ridge.Ridge _ridge.RidgeCV
    _ridge.RidgeClassifier _ridge.RidgeClassifierCV _stochastic_gradient.SGDClassifier
    _stochastic_gradient.SGDOneClassSVM _stochastic_gradient.SGDRegressor _theil_sen.TheilSenRegressor
    """,
    "sklearn.linear_model.",
)

# Trees, forests and both gradient boostings: Python shells around the compiled trees above.
_ENSEMBLES = words(
    """
    tree._classes.DecisionTreeClassifier tree._classes.DecisionTreeRegressor tree._classes.ExtraTreeClassifier
    tree._classes.ExtraTreeRegressor ensemble._forest.RandomForestClassifier ensemble._forest.RandomForestRegressor
    ensemble._forest.ExtraTreesClassifier ensemble._forest.ExtraTreesRegressor ensemble._forest.RandomTreesEmbedding
    ensemble._gb.GradientBoostingClassifier ensemble._gb.GradientBoostingRegressor
    ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier
    ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor
    ensemble._hist_gradient_boosting.binning._BinMapper ensemble._bagging.BaggingClassifier
    ensemble._bagging.BaggingRegressor ensemble._iforest.IsolationForest ensemble._stacking.StackingClassifier
    ensemble._stacking.StackingRegressor ensemble._voting.VotingClassifier ensemble._voting.VotingRegressor
    ensemble._weight_boosting.AdaBoostClassifier ensemble._weight_boosting.AdaBoostRegressor
    """,
    "sklearn.",
)

# Losses and links of boosting: parameters of formulas.
_FORMULAS = words(
    """
    link.HalfLogitLink link.IdentityLink link.Interval link.LogLink link.LogitLink link.MultinomialLogit
    loss.AbsoluteError loss.ExponentialLoss loss.HalfBinomialLoss loss.HalfGammaLoss loss.HalfMultinomialLoss
    loss.HalfPoissonLoss loss.HalfSquaredError loss.HalfTweedieLoss loss.HalfTweedieLossIdentity loss.HuberLoss
    loss.PinballLoss
    """,
    "sklearn._loss.",
)

# Neighbours: __setstate__ of the trees takes arrays as they are, and neighbours.py checks them; a metric is a formula.
NEIGHBOUR_TREES = words(
    """
    _kd_tree.KDTree _kd_tree.KDTree64 _kd_tree.KDTree32 _ball_tree.BallTree _ball_tree.BallTree64 _ball_tree.BallTree32
    """,
    "sklearn.neighbors.",
)
_NEIGHBOURS = words(
    """
    neighbors._classification.KNeighborsClassifier neighbors._classification.RadiusNeighborsClassifier
    neighbors._regression.KNeighborsRegressor neighbors._regression.RadiusNeighborsRegressor
    neighbors._unsupervised.NearestNeighbors neighbors._nearest_centroid.NearestCentroid
    neighbors._lof.LocalOutlierFactor neighbors._kde.KernelDensity
    neighbors._kd_tree.KDTree neighbors._kd_tree.KDTree64 neighbors._kd_tree.KDTree32
    neighbors._ball_tree.BallTree neighbors._ball_tree.BallTree64 neighbors._ball_tree.BallTree32
    """,
    "sklearn.",
) | words(
    """
    EuclideanDistance64 EuclideanDistance32 EuclideanDistance ManhattanDistance64 ManhattanDistance32 ManhattanDistance
    ChebyshevDistance64 ChebyshevDistance32 ChebyshevDistance MinkowskiDistance64 MinkowskiDistance32 MinkowskiDistance
    HammingDistance64 CanberraDistance64 BrayCurtisDistance64 JaccardDistance64 HaversineDistance64
    """,
    "sklearn.metrics._dist_metrics.",
)

# Other models: arrays and parameters.
_MODELS = words(
    """
    naive_bayes.BernoulliNB naive_bayes.CategoricalNB naive_bayes.ComplementNB naive_bayes.GaussianNB
    naive_bayes.MultinomialNB svm._classes.LinearSVC svm._classes.LinearSVR svm._classes.NuSVC svm._classes.NuSVR
    svm._classes.OneClassSVM svm._classes.SVC svm._classes.SVR neural_network._multilayer_perceptron.MLPClassifier
    neural_network._multilayer_perceptron.MLPRegressor neural_network._stochastic_optimizers.AdamOptimizer
    neural_network._stochastic_optimizers.SGDOptimizer dummy.DummyClassifier dummy.DummyRegressor
    discriminant_analysis.LinearDiscriminantAnalysis discriminant_analysis.QuadraticDiscriminantAnalysis
    kernel_ridge.KernelRidge isotonic.IsotonicRegression cluster._kmeans.KMeans cluster._kmeans.MiniBatchKMeans
    mixture._gaussian_mixture.GaussianMixture covariance._elliptic_envelope.EllipticEnvelope
    calibration.CalibratedClassifierCV calibration._CalibratedClassifier calibration._SigmoidCalibration
    multiclass.OneVsRestClassifier multiclass.OneVsOneClassifier multiclass._ConstantPredictor
    multioutput.MultiOutputClassifier multioutput.MultiOutputRegressor
    """,
    "sklearn.",
)

# Steps before a model: parameters and learned statistics; what they contain is judged node by node.
_STEPS = words(
    """
    pipeline.Pipeline pipeline.FeatureUnion compose._column_transformer.ColumnTransformer
    compose._column_transformer._RemainderColsList compose._target.TransformedTargetRegressor
    preprocessing._data.StandardScaler preprocessing._data.MinMaxScaler preprocessing._data.MaxAbsScaler
    preprocessing._data.RobustScaler preprocessing._data.Normalizer preprocessing._data.Binarizer
    preprocessing._data.PowerTransformer preprocessing._data.QuantileTransformer preprocessing._data.KernelCenterer
    preprocessing._discretization.KBinsDiscretizer preprocessing._encoders.OneHotEncoder
    preprocessing._encoders.OrdinalEncoder preprocessing._function_transformer.FunctionTransformer
    preprocessing._label.LabelBinarizer preprocessing._label.LabelEncoder preprocessing._label.MultiLabelBinarizer
    preprocessing._polynomial.PolynomialFeatures preprocessing._target_encoder.TargetEncoder
    impute._base.SimpleImputer impute._base.MissingIndicator impute._knn.KNNImputer
    feature_extraction.text.CountVectorizer feature_extraction.text.TfidfVectorizer
    feature_extraction.text.TfidfTransformer feature_extraction.text.HashingVectorizer
    feature_extraction._hash.FeatureHasher feature_extraction._dict_vectorizer.DictVectorizer
    feature_selection._variance_threshold.VarianceThreshold decomposition._pca.PCA
    decomposition._incremental_pca.IncrementalPCA decomposition._truncated_svd.TruncatedSVD decomposition._nmf.NMF
    """,
    "sklearn.",
)

OBJECTS = _LINEAR | _ENSEMBLES | _FORMULAS | _NEIGHBOURS | _MODELS | _STEPS | PREDICTORS
