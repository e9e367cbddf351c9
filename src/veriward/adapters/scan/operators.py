"""What a graph of torch.export may call: operators on tensors and symbolic sizes, by name.

torch resolves a target by walking attributes from `torch`, `_operator` or `math`, so any function within their reach
could stand in a graph (torch.hub.load, torch.serialization.os.system). Here are the ATen operators that compute from
tensors alone. Left out: what reads or writes files (from_file, save), reinterprets memory (set_, resize_,
quantised and packed formats, sparse layouts without checks), prints, or belongs to one vendor's hardware.
"""

import re

from .gadgets import is_gadget
from .result import Outcome
from .words import words

_ATEN = words(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _assert_async _assert_scalar _assert_tensor_metadata _cdist_forward
    _conj _convolution _embedding_bag _functional_assert_async _fused_rms_norm _log_softmax _native_batch_norm_legit
    _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _native_multi_head_attention _neg_view
    _pdist_forward _prelu_kernel _reshape_copy _safe_softmax _scaled_dot_product_attention_math
    _scaled_dot_product_flash_attention_for_cpu _softmax _stack _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy
    _transformer_encoder_layer_fwd _trilinear _unique2 _unsafe_index _unsafe_view _upsample_bicubic2d_aa
    _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm
    _weight_norm_interface __and__ __lshift__ __or__ __rshift__ __xor__
    abs absolute acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d add addbmm addcdiv addcmul addmm addmv addr adjoint affine_grid_generator
    alias alias_copy all allclose alpha_dropout amax amin aminmax angle any arange arccos arccosh arcsin arcsinh arctan
    arctan2 arctanh argmax argmin argsort argwhere as_strided as_strided_copy as_strided_scatter asin asinh atan atan2
    atanh atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d baddbmm bartlett_window batch_norm bernoulli
    bilinear binary_cross_entropy binary_cross_entropy_with_logits bincount binomial bitwise_and bitwise_left_shift
    bitwise_not bitwise_or bitwise_right_shift bitwise_xor blackman_window block_diag bmm broadcast_tensors broadcast_to
    bucketize cartesian_prod cat cauchy cdist ceil celu chain_matmul channel_shuffle cholesky cholesky_inverse
    cholesky_solve chunk clamp clamp_max clamp_min clip clone col2im column_stack combinations complex concat
    concatenate conj conj_physical constant_pad_nd contiguous conv1d conv2d conv3d conv_tbc conv_transpose1d
    conv_transpose2d conv_transpose3d convolution copy copysign corrcoef cos cosh cosine_embedding_loss
    cosine_similarity count_nonzero cov cross cross_entropy_loss ctc_loss cummax cummin cumprod cumsum
    cumulative_trapezoid deg2rad det detach detach_copy diag diag_embed diagflat diagonal diagonal_copy diagonal_scatter
    diff digamma dim dist div divide dot dropout dsplit dstack einsum elu embedding embedding_bag empty empty_like
    empty_permuted empty_strided eq equal erf erfc erfinv exp exp2 expand expand_as expand_copy expm1 exponential eye
    feature_alpha_dropout feature_dropout fft_fft fft_fft2 fft_fftfreq fft_fftn fft_fftshift fft_hfft fft_ifft fft_ifft2
    fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftfreq fft_rfftn fill
    fill_diagonal fix flatten flip fliplr flipud float_power floor floor_divide fmax fmin fmod frac
    fractional_max_pool2d fractional_max_pool3d frexp frobenius_norm full full_like gather gcd ge gelu ger glu gradient
    greater greater_equal grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell gt hamming_window
    hann_window hardshrink hardsigmoid hardswish hardtanh heaviside hinge_embedding_loss histc hsplit hstack huber_loss
    hypot i0 igamma igammac im2col imag index index_add index_copy index_fill index_put index_reduce index_select inner
    instance_norm inverse is_complex is_floating_point is_nonzero is_same_size isclose isfinite isin isinf isnan
    isneginf isposinf isreal istft item kaiser_window kl_div kron kthvalue l1_loss layer_norm lcm ldexp le leaky_relu
    lerp less less_equal lgamma lift_fresh lift_fresh_copy linalg_cholesky linalg_cholesky_ex linalg_cross linalg_det
    linalg_diagonal linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh linalg_inv linalg_inv_ex linalg_lstsq
    linalg_lu linalg_lu_factor linalg_lu_solve linalg_matmul linalg_matrix_exp linalg_matrix_norm linalg_matrix_power
    linalg_matrix_rank linalg_multi_dot linalg_norm linalg_pinv linalg_qr linalg_slogdet linalg_solve linalg_solve_ex
    linalg_solve_triangular linalg_svd linalg_svdvals linalg_vander linalg_vecdot linalg_vector_norm linear linspace log
    log10 log1p log2 log_normal log_sigmoid log_sigmoid_forward log_softmax logaddexp logaddexp2 logcumsumexp logdet
    logical_and logical_not logical_or logical_xor logit logspace logsumexp lstm lstm_cell lt lu_solve lu_unpack mH mT
    margin_ranking_loss masked_fill masked_scatter masked_select matmul matrix_H matrix_exp matrix_power max max_pool1d
    max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d
    max_unpool3d maximum mean median meshgrid min minimum mish mm mode moveaxis movedim mse_loss msort mul
    multi_margin_loss multilabel_margin_loss multinomial multiply mv mvlgamma nan_to_num nanmean nanmedian nanquantile
    nansum narrow narrow_copy native_batch_norm native_channel_shuffle native_dropout native_group_norm
    native_layer_norm ne neg negative new_empty new_empty_strided new_full new_ones new_zeros nextafter nll_loss
    nll_loss2d nll_loss2d_forward nll_loss_forward nll_loss_nd nonzero nonzero_static norm norm_except_dim normal
    normal_functional not_equal nuclear_norm numel numpy_T one_hot ones ones_like outer pad pad_sequence
    pairwise_distance pdist permute permute_copy pinverse pixel_shuffle pixel_unshuffle poisson poisson_nll_loss polar
    polygamma positive pow prelu prod put qr quantile rad2deg rand rand_like randint randint_like randn randn_like
    random randperm range ravel real reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 remainder
    renorm repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape reshape_as
    resolve_conj resolve_neg rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell roll rot90 round row_stack rrelu
    rrelu_with_noise_functional rsqrt rsub scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce
    searchsorted select select_copy select_scatter selu sgn sigmoid sign signbit silu sin sinc sinh size slice
    slice_copy slice_scatter slogdet smooth_l1_loss soft_margin_loss softmax softplus softshrink sort special_airy_ai
    special_bessel_j0 special_bessel_j1 special_digamma special_entr special_erf special_erfc special_erfcx
    special_erfinv special_exp2 special_expit special_expm1 special_gammainc special_gammaincc special_gammaln
    special_i0 special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_log_softmax special_logit
    special_logsumexp special_multigammaln special_ndtr special_ndtri special_polygamma special_psi special_round
    special_sinc special_softmax special_xlog1py special_xlogy special_zeta split split_copy split_with_sizes
    split_with_sizes_copy sqrt square squeeze squeeze_copy stack std std_mean stft storage_offset stride sub subtract
    sum sum_to_size svd swapaxes swapdims sym_constrain_range sym_constrain_range_for_size sym_is_contiguous sym_numel
    sym_size sym_storage_offset sym_stride t t_copy take take_along_dim tan tanh tensor_split tensordot threshold tile
    to topk trace transpose transpose_copy trapezoid trapz triangular_solve tril tril_indices triplet_margin_loss triu
    triu_indices true_divide trunc type_as unbind unbind_copy unflatten unfold unfold_copy uniform unique_consecutive
    unique_dim unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_copy upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
    vander var var_mean vdot view view_as view_as_complex view_as_complex_copy view_as_real view_as_real_copy view_copy
    vsplit vstack where xlogy zero zeros zeros_like
    """
)

_PRIMS = words(
    """
    abs add amax amin bitwise_and bitwise_not bitwise_or bitwise_xor broadcast_in_dim cat ceil clone
    convert_element_type cos div eq exp expm1 floor fmod ge gt iota le log log1p lt maximum minimum mul ne neg pow
    reshape rsqrt sign sin slice sqrt squeeze sub sum tanh transpose trunc var view_of where
    """
)

# Control flow: the branches are graphs in the same file, read like the outer one.
_HIGHER_ORDER = words("cond while_loop map_impl scan associative_scan wrap_with_set_grad_enabled wrap_with_autocast")

_EXACT = (
    words("eq ne le ge lt gt neg pos mul add sub floordiv mod pow truediv and_ or_ lshift rshift getitem", "_operator.")
    | words("sym_not sym_int sym_float sym_ite sym_max sym_min sym_sqrt sym_sum", "torch.")
    | words("trunc ceil floor", "math.")
)
_ATEN_TARGET = re.compile(r"torch\.ops\.(aten|prims)\.(\w{1,80})\.(\w{1,80})")
_HIGHER_ORDER_TARGET = re.compile(r"torch\.ops\.higher_order\.(\w{1,80})")


def target_outcome(target: str) -> Outcome:
    """What a target of a node may do: an operator of the list, one that is not, or any other Python function.

    >>> target_outcome("torch.ops.aten.linear.default"), target_outcome("torch.hub.load")
    ('clean', 'dangerous')
    """
    match = _ATEN_TARGET.fullmatch(target)
    if match is not None:
        return "clean" if _is_listed(match[1], match[2]) else "unknown"
    higher = _HIGHER_ORDER_TARGET.fullmatch(target)
    if target in _EXACT or (higher is not None and higher[1] in _HIGHER_ORDER):
        return "clean"
    if higher is None and target.startswith(("torch", "_operator", "math")) and not target.startswith("torch.ops."):
        return "dangerous"  # reached by walking attributes: no operator, but some function
    if target.startswith("torch.ops.") and is_gadget("torch", target.removeprefix("torch.ops.")):
        return "dangerous"
    return "unknown"


def _is_listed(namespace: str, name: str) -> bool:
    if namespace == "prims":
        return name in _PRIMS
    return is_operator(name)


def is_operator(name: str) -> bool:
    """Whether an operator of ATen computes from tensors alone; its in-place form then does too.

    >>> is_operator("add_"), is_operator("from_file")
    (True, False)
    """
    return name in _ATEN or (name.endswith("_") and name.removesuffix("_") in _ATEN)
