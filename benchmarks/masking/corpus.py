"""Published defences that were broken, re-implemented small on the digits: which paper, how it fell, and a stand-in.

`standin` is what the adaptive attack differentiates (BPDA): None means that the model itself will do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.masking import fronts, layers
from benchmarks.masking.nets import cnn, digits, hardened, mlp, trained


@dataclass(frozen=True)
class Built:
    """A defended model, what it answers, and what the adaptive attack differentiates."""

    model: nn.Module
    standin: nn.Module | None = None
    output: str = "logits"
    random: bool = False


@dataclass(frozen=True)
class Defence:
    """One entry of the corpus."""

    name: str
    paper: str
    broken_by: str
    build: Callable[[], Built]


def behind(front: nn.Module, *, random: bool = False, seen: bool = True) -> Built:
    """Return a net behind a front that has no slope; the stand-in leaves the front out."""
    net = trained(cnn, see=front if seen else None)
    return Built(fronts.Fronted(front, net).eval(), net, random=random)


def smooth(front: nn.Module, *, random: bool = False) -> Built:
    """Return a net behind a front that has gradients."""
    return Built(fronts.Fronted(front, trained(cnn, see=front)).eval(), random=random)


def thermometer() -> Built:
    """Trained on codes; the stand-in rounds its steps off."""
    net = trained(lambda: cnn(inputs=12), see=fronts.Thermometer())
    return Built(fronts.Fronted(fronts.Thermometer(), net), fronts.Fronted(fronts.Thermometer(soft=12.0), net))


def signs() -> Built:
    """Trained with straight-through gradients, which the finished net no longer has."""
    net = trained(lambda: cnn(layers.Sign, width=32))
    assert isinstance(net, nn.Sequential)
    return Built(net, layers.swapped(net, layers.Sign, lambda: layers.Sign(straight=True)))


def rounded() -> Built:
    """Quantised activations; the stand-in leaves the rounding out."""
    net = trained(lambda: cnn(layers.Rounded))
    assert isinstance(net, nn.Sequential)
    return Built(net, layers.swapped(net, layers.Rounded, nn.Hardtanh))


def pruned() -> Built:
    """Pruning by chance is put into a finished net."""
    return Built(trained(lambda: cnn(layers.Pruned)), random=True)


def distilled() -> Built:
    """A net trained at temperature 40 on a teacher's soft answers, asked at temperature 1."""
    hot = 40.0
    teacher = trained(cnn, lambda net, x, y: nn.functional.cross_entropy(net(x) / hot, y), epochs=20)

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(x) / hot, (teacher(x) / hot).softmax(1))

    student = trained(cnn, loss, epochs=20, seed=1)
    return Built(layers.Scaled(student, 1.0, soft=True), student, "probabilities")


def saturated() -> Built:
    """Logits times a thousand, told as probabilities: exactly one and zero in float32."""
    net = trained(cnn)
    return Built(layers.Scaled(net, 1000.0, soft=True), net, "probabilities")


def mislabelled() -> Built:
    """Probabilities that are called logits."""
    net = trained(cnn)
    return Built(layers.Scaled(net, 30.0, soft=True), net)


def saturating_units() -> Built:
    """Sigmoids driven to their ends by weights times twelve."""
    net = trained(lambda: mlp(100, 100, activation=nn.Sigmoid), epochs=25)
    steep = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][:2]
    for layer in steep:
        layer.weight.data *= 40
        layer.bias.data *= 40
    sharp = trained_head(net)
    soft = mlp(100, 100, activation=nn.Sigmoid).eval().requires_grad_(False)
    soft.load_state_dict(sharp.state_dict())
    for layer in [layer for layer in soft.modules() if isinstance(layer, nn.Linear)][:2]:
        layer.weight.data /= 30
        layer.bias.data /= 30
    return Built(sharp, soft)


def trained_head(net: nn.Module) -> nn.Module:
    """Return the net with its last layer fitted to what the layers before it now say."""
    last = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1]
    data = digits()
    last.requires_grad_(True)
    steps = torch.optim.Adam(last.parameters(), 1e-2)
    for _ in range(150):
        steps.zero_grad()
        nn.functional.cross_entropy(net(data.x), data.y).backward()
        steps.step()
    return net.eval().requires_grad_(False)


def ripple() -> Built:
    """A fast small wave on the logits."""
    net = trained(cnn)
    return Built(layers.Ripple(net), net)


def ensemble() -> Built:
    """Three nets of other shapes, one of them by chance."""
    nets = (trained(cnn, seed=1), trained(lambda: mlp(128), seed=2), trained(lambda: cnn(nn.Tanh), seed=3))
    return Built(layers.Chance(*nets).eval(), random=True)


def codes() -> Built:
    """Error-correcting words with bits that saturate."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = torch.where(torch.rand(10, 20) < 0.5, -1.0, 1.0)

    def build() -> nn.Module:
        net = cnn()
        net[-1] = nn.Linear(64, 20)
        return net

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.soft_margin_loss(net(x), words[y])

    net = trained(build, loss)
    return Built(layers.Codes(net, words, hard=20.0), layers.Codes(net, words, hard=0.3), "probabilities")


def overfitted() -> Built:
    """One-step training at a full step until it only looks robust to one step."""
    return Built(trained(lambda: cnn(width=24), hardened(0.25, 1, 0.25), epochs=25))


def squeezed() -> Built:
    """Noisy rows, and a price on large logits."""

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        scores = net((x + 0.3 * torch.randn_like(x)).clamp(0, 1))
        return nn.functional.cross_entropy(scores, y) + 0.1 * scores.square().mean()

    return Built(trained(cnn, loss))


BPDA, EOT = "gradients through a stand-in (BPDA)", "gradients averaged over the randomness (EOT)"
ATHALYE = "Athalye, Carlini, Wagner 2018 (arXiv:1802.00420)"
TRAMER = "Tramer, Carlini, Brendel, Madry 2020 (arXiv:2002.08347)"
CARLINI = "Carlini, Wagner 2017 (arXiv:1608.04644)"

CORPUS: tuple[Defence, ...] = (
    Defence("thermometer", "Buckman et al. 2018 (ICLR)", f"{ATHALYE}: {BPDA}", thermometer),
    Defence("bit depth", "Xu, Evans, Qi 2018 (arXiv:1704.01155)", f"{ATHALYE}: {BPDA}", lambda: behind(fronts.Bits())),
    Defence("jpeg", "Guo et al. 2018 (arXiv:1711.00117)", f"{ATHALYE}: {BPDA}", lambda: behind(fronts.Jpeg())),
    Defence(
        "median filter", "Xu, Evans, Qi 2018 (arXiv:1704.01155)", "any gradient attack", lambda: smooth(fronts.Median())
    ),
    Defence(
        "total variation",
        "Guo et al. 2018 (arXiv:1711.00117)",
        f"{ATHALYE}: both BPDA and EOT",
        lambda: behind(fronts.Variation(), random=True),
    ),
    Defence(
        "resize and pad",
        "Xie et al. 2018 (arXiv:1711.01991)",
        f"{ATHALYE}: {EOT}",
        lambda: smooth(fronts.ResizePad(), random=True),
    ),
    Defence("input noise", "Cohen et al. 2019, one draw alone", EOT, lambda: smooth(fronts.Noise(0.25), random=True)),
    Defence(
        "noise layers",
        "Liu et al. 2018 (arXiv:1712.00673)",
        f"{TRAMER} of its kind: {EOT}",
        lambda: Built(trained(lambda: cnn(layers.LayerNoise)), random=True),
    ),
    Defence("activation pruning", "Dhillon et al. 2018 (arXiv:1803.01442)", f"{ATHALYE}: {EOT}", pruned),
    Defence(
        "distillation", "Papernot et al. 2016 (arXiv:1511.04508)", f"{CARLINI}: logits, not probabilities", distilled
    ),
    Defence("saturated softmax", "the same, taken to its end", f"{CARLINI}: logits, not probabilities", saturated),
    Defence(
        "probabilities as logits",
        "a usual mistake of evaluations",
        "Carlini et al. 2019 (arXiv:1902.06705)",
        mislabelled,
    ),
    Defence(
        "winners take all",
        "Xiao, Zhong, Zheng 2020 (arXiv:1905.10510)",
        f"{TRAMER}: gradients of a smoothed loss",
        lambda: Built(trained(lambda: cnn(layers.Winners))),
    ),
    Defence("signs", "Galloway et al. 2018 (arXiv:1711.00449)", "straight-through gradients; random search", signs),
    Defence("quantised activations", "Rakin et al. 2018 (arXiv:1807.06714)", BPDA, rounded),
    Defence(
        "patches of the manifold",
        "Song et al. 2018, PixelDefend (arXiv:1710.10766)",
        f"{ATHALYE}: {BPDA}",
        lambda: behind(fronts.Nearest(1, 4, 2)),
    ),
    Defence(
        "nearest pictures",
        "Samangouei et al. 2018, Defense-GAN (arXiv:1805.06605)",
        f"{ATHALYE}: {BPDA}",
        lambda: behind(fronts.Nearest(3)),
    ),
    Defence(
        "mask and low rank",
        "Yang et al. 2019, ME-Net (arXiv:1905.11971)",
        f"{TRAMER}: both BPDA and EOT",
        lambda: behind(fronts.LowRank(), random=True),
    ),
    Defence(
        "pixels dropped", "Wang et al. 2017 (arXiv:1610.01239)", EOT, lambda: smooth(fronts.RandomMask(), random=True)
    ),
    Defence("moving target", "Sengupta et al. 2019, MTDeep (arXiv:1705.07213)", EOT, ensemble),
    Defence(
        "left the graph",
        "the mistake behind many figures",
        f"{ATHALYE}: {BPDA}",
        lambda: behind(fronts.Detached(), seen=False),
    ),
    Defence("staircase", "shattered gradients as such", f"{ATHALYE}: {BPDA}", lambda: behind(fronts.Floor())),
    Defence("ripple", "exploding gradients as such", "differentiating without the ripple; random search", ripple),
    Defence(
        "barrage",
        "Raff et al. 2019 (CVPR)",
        "Sitawarin et al. 2022 (arXiv:2202.02236): both BPDA and EOT",
        lambda: behind(fronts.Barrage(), random=True),
    ),
    Defence(
        "pixel deflection",
        "Prakash et al. 2018 (arXiv:1801.08926)",
        "Athalye, Carlini 2018 (arXiv:1804.03286): BPDA",
        lambda: behind(fronts.Deflect(), random=True),
    ),
    Defence(
        "mixup inference",
        "Pang, Xu, Zhu 2020 (arXiv:1909.11515)",
        f"{TRAMER}: {EOT}",
        lambda: smooth(fronts.Mixup(), random=True),
    ),
    Defence("code words", "Verma, Swami 2019 (NeurIPS)", f"{TRAMER}: less saturated scores", codes),
    Defence(
        "saturating units",
        "Nayebi, Ganguli 2017 (arXiv:1703.09202)",
        "Brendel, Bethge 2017 (arXiv:1704.01547): numerical saturation",
        saturating_units,
    ),
    Defence(
        "one-step training", "Goodfellow et al. 2015", "Wong et al. 2020 (arXiv:2001.03994): many steps", overfitted
    ),
    Defence(
        "logit squeezing",
        "Kannan et al. 2018 (arXiv:1803.06373)",
        "Engstrom et al. 2018 (arXiv:1807.10272): more steps",
        squeezed,
    ),
)
