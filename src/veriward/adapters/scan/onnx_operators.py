"""Operators of ONNX that compute and nothing else, and those that are there to run other code.

Sources: onnx, docs/Operators.md and docs/Operators-ml.md (opset 1 to 28, ai.onnx.ml 1 to 5); onnxruntime,
docs/ContribOperators.md; onnxruntime-extensions, docs/custom_ops.md.
"""

from .words import words

_STANDARD = words(
    """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
    Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike
    CausalConvWithState Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT DeformConv DepthToSpace
    DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor
    GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity
    If ImageDecoder InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual
    LinearAttention Log LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool
    MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg
    NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement
    Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence
    RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct
    SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size
    Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze
    StringConcat StringNormalizer StringSplit Sub Sum SwiGLU Swish Tan Tanh TensorScatter TfIdfVectorizer
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """
)
_CLASSIC = words(
    """
    ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder
    LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble
    TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
    """
)
_FUSED = words(
    """
    Attention BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu DequantizeLinear DynamicQuantizeLSTM
    DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul Gelu GroupNorm
    GroupQueryAttention LayerNormalization MatMulBnb4 MatMulIntegerToFloat MatMulNBits MultiHeadAttention NhwcConv
    NhwcFusedConv NhwcMaxPool QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax
    QLinearWhere QuantizeLinear QuickGelu RotaryEmbedding SimplifiedLayerNormalization SkipGroupNorm
    SkipLayerNormalization SkipSimplifiedLayerNormalization TransposeMatMul
    """
)
_TRAINING = frozenset({"Adagrad", "Adam", "Gradient", "Momentum"})
_KNOWN = {
    "": _STANDARD,
    "ai.onnx": _STANDARD,
    "ai.onnx.ml": _CLASSIC,
    "ai.onnx.preview.training": _TRAINING,
    "com.microsoft": _FUSED,
    "com.microsoft.nchwc": frozenset(
        {"AveragePool", "Conv", "GlobalAveragePool", "MaxPool", "ReorderInput", "ReorderOutput"}
    ),
}
_PYTHON = frozenset({"pyop", "pyfunc", "pycustomop", "pythonop", "pythonopgrad", "custompyop", "pythonfunction"})
LIBRARIES = frozenset({"ai.onnx.contrib", "com.microsoft.extensions", "ai.onnx.extensions"})


def is_known(domain: str, operator: str) -> bool:
    """Whether an operator computes its outputs from its inputs and does nothing else.

    >>> is_known("", "Conv"), is_known("com.example", "Conv")
    (True, False)
    """
    return operator in _KNOWN.get(domain, ())


def runs_python(domain: str, operator: str) -> bool:
    """Whether an operator calls Python, whatever its domain.

    >>> runs_python("ai.onnx.contrib", "PyOp")
    True
    """
    name = operator.lower()
    return name in _PYTHON or (domain in LIBRARIES and name.startswith("py"))


def why_unknown(domain: str, operator: str) -> str:
    """What to say of an operator that is on no list.

    >>> why_unknown("org.pytorch.aten", "ATen")
    'is an operator of a library that the loader must be given, and nobody here knows what it does'
    """
    if domain in LIBRARIES:
        return "is an operator of a library of custom operators, some of which run code or read files"
    if operator == "EPContext":
        return "holds or names a program that was compiled for an accelerator"
    if domain == "com.microsoft":
        return "is an operator of onnxruntime alone that is not on the list of harmless ones"
    if domain in _KNOWN:
        return "is an operator that the standard does not have"
    return "is an operator of a library that the loader must be given, and nobody here knows what it does"
