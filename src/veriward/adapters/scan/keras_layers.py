"""The allowlist of Keras configs: the classes and functions that may be named, and the keys their configs may hold.

A class is here because building it from plain values only makes layers and numbers: no file, no import, no code of the
config's author. Names are those of Keras 3, and of Keras 2 where the old HDF5 format still holds them. The modules are
the ones that `keras.saving.serialize_keras_object` writes.
"""

import re

from .gadgets import is_gadget
from .words import words

_LAYERS = words(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D
    Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupedQueryAttention GroupQueryAttention HashedCrossing Hashing Identity
    InputLayer IntegerLookup LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D
    Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN RandomBrightness
    RandomContrast RandomCrop RandomFlip RandomGrayscale RandomHue RandomInvert RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D
    SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells StringLookup Subtract TextVectorization ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """
)
MODELS = words("Sequential Functional Model")
_POLICIES = words("DTypePolicy FloatDTypePolicy QuantizedDTypePolicy Int4DTypePolicy DTypePolicyMap")
_OPTIMIZERS = words("Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Nadam RMSprop SGD")
_FAMILIES: dict[str, frozenset[str]] = {
    "keras.layers": _LAYERS,
    "keras.models": MODELS,
    "keras": MODELS | _POLICIES,
    "keras.dtype_policies": _POLICIES,
    "keras.quantizers": words("AbsMaxQuantizer Int4QuantizationConfig Int8QuantizationConfig"),
    "keras.random": words("SeedGenerator"),
    "keras.initializers": words(
        """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
        """
    ),
    "keras.regularizers": words("L1 L1L2 L2 OrthogonalRegularizer"),
    "keras.constraints": words("MaxNorm MinMaxNorm NonNeg UnitNorm"),
    "keras.optimizers": _OPTIMIZERS,
    "keras.optimizers.schedules": words(
        "CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay"
    ),
    "keras.losses": words(
        """
        BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
        CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence LogCosh
        MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
        SparseCategoricalCrossentropy SquaredHinge Tversky
        """
    ),
    "keras.metrics": words(
        """
        AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy
        CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives Hinge
        IoU KLDivergence LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper
        MeanSquaredError MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
        PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity
        SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity
        SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives
        """
    ),
    "keras.src.models.functional": words("Functional"),
    "keras.src.models.sequential": words("Sequential"),
    "keras.src.models.model": words("Model"),
    "keras.src.ops.numpy": words(
        """
        Absolute Add Clip Concatenate Divide Exp ExpandDims Log Matmul Max Maximum Mean Min Minimum Multiply Negative
        Power Reshape Sqrt Square Squeeze Subtract Sum Transpose TrueDivide
        """
    ),
    "keras.src.ops.nn": words("Relu Sigmoid Softmax LogSoftmax Softplus Silu Gelu Elu Selu"),
}
_TORCH_OPTIMIZER = re.compile(r"keras\.src\.backend\.torch\.optimizers\.torch_([a-z]{3,8})")

FUNCTIONS = words(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu swish soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus tanh tanh_shrink threshold
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
    categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity ctc dice hinge huber kl_divergence
    log_cosh mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
    poisson sparse_categorical_crossentropy squared_hinge tversky
    binary_accuracy categorical_accuracy sparse_categorical_accuracy sparse_top_k_categorical_accuracy
    top_k_categorical_accuracy concordance_correlation pearson_correlation
    """
)
_FUNCTION_MODULES = words("builtins keras.activations keras.losses keras.metrics")

KEYS = words(
    """
    activation activity_regularizer addition_factor allow_last_axis_squeeze alpha alpha_constraint alpha_initializer
    alpha_regularizer amsgrad antialias apply_class_balancing attention_axes autocast average axes
    axis backward_layer batch_input_shape batch_shape batch_size beta beta_1 beta_2 beta_2_decay beta_constraint
    beta_initializer beta_regularizer bias_axes bias_constraint bias_initializer bias_regularizer bin_boundaries
    boundaries brightness_factor build_input_shape cell cells center centered class_aggregation class_id clip_threshold
    clipnorm clipvalue contrast_factor crop_to_aspect_ratio cropping curve cycle data_format decay decay_rate
    decay_steps default_policy delta depth_multiplier depthwise_constraint depthwise_initializer depthwise_regularizer
    dilation_rate dims distribution dropout dtype dynamic_growth_steps ema_momentum ema_overwrite_frequency
    embeddings_constraint embeddings_initializer embeddings_regularizer encoding end_learning_rate epsilon epsilon_1
    epsilon_2 equation expand_dims factor fill_mode fill_value filters first_decay_steps flash_attention fn from_logits
    from_sorted_ids gain gamma gamma_constraint gamma_initializer gamma_regularizer global_clipnorm go_backwards
    gradient_accumulation_steps group_size groups head_dim height height_factor idf_weights
    ignore_class implementation initial_accumulator_value initial_learning_rate initial_scale inner_optimizer
    input_axes input_dim input_layers input_length input_shape interpolation invert jit_compile k keepdims
    kernel_constraint kernel_initializer kernel_regularizer kernel_size key_dim l1 l1_regularization_strength l2
    l2_regularization_strength l2_shrinkage_regularization_strength label_smoothing label_weights layer layers
    learning_rate learning_rate_power logit_soft_cap lora_alpha lora_rank loss_scale_factor m_mul margin mask_token
    mask_value mask_zero max_tokens max_value maxval mean merge_mode min_value minval mode momentum
    moving_mean_initializer moving_variance_initializer multi_label n name negative_slope nesterov ngrams noise_shape
    normalize num_bins num_classes num_heads num_key_value_heads num_labels num_oov_indices num_query_heads
    num_regressors num_thresholds num_tokens offset oov_method oov_token optional output_axes output_dim output_layers
    output_mode output_padding output_sequence_length output_shape output_size pad_to_aspect_ratio pad_to_max_tokens
    padding per_channel pointwise_constraint pointwise_initializer pointwise_regularizer policy_map pool_size power
    power_iterations precision q quantization_config quantization_mode ragged rank rate recall recurrent_activation
    recurrent_constraint recurrent_dropout recurrent_initializer recurrent_regularizer reduction relative_step
    remove_diagonal renorm renorm_clipping renorm_momentum reset_after return_sequences return_state reverse_dtype rho
    rms_scaling bins x_factor y_factor output_dtype weight_quantizer activation_quantizer block_size
    salt saturation_factor scale scaling score_mode seed sensitivity shared_axes side sigma size sliding_window
    source_name sparse sparse_y_pred sparse_y_true specificity split staircase standardize stateful stddev strides
    summation_method symmetric synchronized t_mul target_class_ids target_shape theta threshold thresholds tie_weights
    time_major top_k trainable unit_forget_bias units unroll upper_bound lower_bound use_bias use_cudnn use_ema use_gate
    use_scale value value_dim value_range values variance virtual_batch_size vocabulary vocabulary_dtype vocabulary_size
    warmup_steps warmup_target weight_decay width width_factor window zero_output_for_mask
    adjustment fused function_type newshape axis1 axis2 x_min x_max dtype_policy is_legacy_optimizer
    """
)

# Classes that run code or open files whatever their config says.
# Where a class may hold layers: elsewhere nobody counts what they allocate.
HOLDERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(MODELS, words("layers")),
    **dict.fromkeys(("Bidirectional", "TimeDistributed"), words("layer backward_layer")),
}

ATTACKS: dict[str, str] = {
    "Lambda": "runs a function that the config carries or names",
    "__lambda__": "is Python code in the config",
    "TorchModuleWrapper": "unpickles a module that the config carries",
    "TFSMLayer": "loads a SavedModel, which can write files and run anything, from a path in the config",
    "JaxLayer": "calls a function that the config names",
    "FlaxLayer": "calls a module that the config names",
}
_NO_MODELS = words(
    """
    get_file load_model save_model load_weights save_weights model_from_json load_img save_img clear_session
    enable_unsafe_deserialization image_dataset_from_directory text_dataset_from_directory
    audio_dataset_from_directory deserialize_keras_object serialize_keras_object register_keras_serializable
    deserialize func_load func_dump plot_model extract_archive extract_open_archive
    """
)


def is_allowed_class(module: str | None, name: str) -> bool:
    """Whether a class may be built; `module` is None in the legacy form, which names classes alone.

    >>> is_allowed_class("keras.layers", "Dense"), is_allowed_class("keras.layers", "Lambda")
    (True, False)
    """
    if module is None:
        return any(name in family for home, family in _FAMILIES.items() if not home.startswith("keras.src.ops"))
    torch = _TORCH_OPTIMIZER.fullmatch(module)
    if torch is not None:
        return name in _OPTIMIZERS and name.lower() == torch.group(1)
    return name in _FAMILIES.get(module, ())


def is_allowed_function(module: str | None, name: str) -> bool:
    """Whether a function may be named as activation, loss or metric.

    >>> is_allowed_function("builtins", "relu"), is_allowed_function("builtins", "eval")
    (True, False)
    """
    return name in FUNCTIONS and (module is None or module in _FUNCTION_MODULES)


def is_layer(name: str) -> bool:
    """Whether a class is a layer or a model, which may allocate weights.

    >>> is_layer("Dense"), is_layer("Adam")
    (True, False)
    """
    return name in _LAYERS or name in MODELS


def attack_by(module: str | None, name: str) -> str | None:
    """Why a name in a config is an attack; None where it is merely not on the allowlist.

    >>> attack_by("os", "system")
    'names code that can run commands, open files or import anything'
    """
    if name in ATTACKS:
        return ATTACKS[name]
    if name in _NO_MODELS and (module is None or module.split(".")[0] in ("keras", "tf_keras", "tensorflow")):
        return "names a function of Keras that reads or writes files, or switches its safety off"
    if is_gadget(module or "builtins", name):
        return "names code that can run commands, open files or import anything"
    return None
