from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from crosscam.errors import RecipeError
from crosscam.losses import classification_loss
from crosscam.models.backbones.omni_scale import CHANNELS, AggregationGate, OmniScaleBlock
from crosscam.models.baselines.osnet import OSNet, OSNetModel
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings
from small_models import parameters

Map = list[list[list[float]]]
PIDS = torch.tensor([0, 0, 1, 1, 2, 2])


def tiny(num_ids: int = 3) -> OSNet:
    torch.manual_seed(0)
    return OSNet(num_ids, channels=(4, 16, 16, 32), dim=6)


def images(count: int = 6, height: int = 64, width: int = 32) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def plain_convolution(x: Map, layer: nn.Conv2d) -> Map:
    """Stride 1, size kept, zeros outside; with groups, one input channel for each output channel."""
    weight, reach = layer.weight.tolist(), layer.kernel_size[0] // 2
    height, width = len(x[0]), len(x[0][0])
    out = [[[0.0] * width for _ in range(height)] for _ in weight]
    for o, i, j in itertools.product(range(len(weight)), range(height), range(width)):
        for c, taps in enumerate(weight[o]):
            source = x[o] if layer.groups > 1 else x[c]
            for dy, dx in itertools.product(range(-reach, reach + 1), repeat=2):
                if 0 <= i + dy < height and 0 <= j + dx < width:
                    out[o][i][j] += taps[dy + reach][dx + reach] * source[i + dy][j + dx]
    return out


def plain_layers(x: Map, layers: nn.Module) -> Map:
    """Convolutions, batch normalizations by their running statistics, and ReLUs, one number at a time."""
    for layer in layers.children():
        if isinstance(layer, nn.Conv2d):
            x = plain_convolution(x, layer)
        elif isinstance(layer, nn.BatchNorm2d):
            numbers = torch.stack((layer.running_mean, layer.running_var, layer.weight, layer.bias), dim=1).tolist()
            x = [
                [[(v - mean) / math.sqrt(var + layer.eps) * scale + shift for v in row] for row in channel]
                for channel, (mean, var, scale, shift) in zip(x, numbers, strict=True)
            ]
        elif isinstance(layer, nn.ReLU):
            x = [[[max(v, 0.0) for v in row] for row in channel] for channel in x]
        else:
            raise AssertionError(layer)
    return x


def plain_gate(streams: list[Map], gate: AggregationGate) -> Map:
    """The sum of the streams, each channel of each weighed by what the gate makes of that stream alone."""
    first, _, second, _ = gate.weigh
    total = [[[0.0] * len(row) for row in channel] for channel in streams[0]]
    for stream in streams:
        means = [sum(map(sum, channel)) / (len(channel) * len(channel[0])) for channel in stream]
        hidden = [
            max(0.0, bias + sum(w * mean for w, mean in zip(row, means, strict=True)))
            for row, bias in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        for c, (row, bias) in enumerate(zip(second.weight.tolist(), second.bias.tolist(), strict=True)):
            weight = 1 / (1 + math.exp(-bias - sum(w * h for w, h in zip(row, hidden, strict=True))))
            for i, j in itertools.product(range(len(stream[c])), range(len(stream[c][0]))):
                total[c][i][j] += weight * stream[c][i][j]
    return total


def randomise(module: nn.Module) -> None:
    """Batch normalizations that do something, and gates whose hidden units are on."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 2.0),
                (part.weight, 0.5, 1.5),
                (part.bias, -0.5, 0.5),
            ):
                nn.init.uniform_(tensor, low, high)
        if isinstance(part, AggregationGate):
            nn.init.uniform_(part.weigh[0].bias, 0.5, 1.5)


def test_gate_number_by_number():
    torch.manual_seed(0)
    gate = AggregationGate(32).double()
    randomise(gate)
    streams = [torch.randn(2, 32, 3, 2, dtype=torch.float64) for _ in range(3)]
    fused = gate(streams)
    assert gate.weigh[0].out_features == 2
    for b in range(2):
        expected = torch.tensor(plain_gate([s[b].tolist() for s in streams], gate), dtype=torch.float64)
        torch.testing.assert_close(fused[b], expected)


def test_gate_weighs_each_stream_by_itself_and_each_image_anew():
    torch.manual_seed(0)
    gate = AggregationGate(16)
    randomise(gate)
    one, other = torch.randn(2, 4, 16, 3, 2).unbind(0)
    torch.testing.assert_close(gate([one, other]), gate([one]) + gate([other]))
    shares = gate([one]) / one
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(shares.amax(dim=(2, 3)), shares.amin(dim=(2, 3)))
    assert (shares[:, :, 0, 0].std(dim=0) > 1e-4).all()


@pytest.mark.parametrize("in_channels", [6, 16])
def test_block_number_by_number(in_channels):
    torch.manual_seed(0)
    block = OmniScaleBlock(in_channels, 16).double().eval()
    randomise(block)
    x = torch.randn(2, in_channels, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        out = block(x)
    assert [len(stream) for stream in block.streams] == [1, 2, 3, 4]
    for b in range(2):
        narrow = plain_layers(x[b].tolist(), block.narrow)
        streams = []
        for stream in block.streams:
            seen = narrow
            for lite in stream:
                seen = plain_layers(seen, lite)
            streams.append(seen)
        residual = plain_layers(plain_gate(streams, block.gate), block.expand)
        skip = x[b].tolist() if in_channels == 16 else plain_layers(x[b].tolist(), block.skip)
        expected = torch.tensor(residual, dtype=torch.float64) + torch.tensor(skip, dtype=torch.float64)
        torch.testing.assert_close(out[b], expected.clamp(min=0))


def test_stream_t_sees_2t_plus_1_places():
    torch.manual_seed(0)
    block = OmniScaleBlock(16, 16).eval()
    for t, stream in enumerate(block.streams, start=1):
        x = torch.rand(1, 4, 13, 13, requires_grad=True)
        # Without the ReLUs, every place that can be seen is seen.
        for lite in stream:
            lite[3] = nn.Identity()
        (grad,) = torch.autograd.grad(stream(x)[0, :, 6, 6].sum(), x)
        rows = (grad[0].abs().sum(dim=(0, 2)) > 0).nonzero().flatten().tolist()
        assert rows == list(range(6 - t, 6 + t + 1))


def test_layout_and_what_stands_behind_the_map():
    model = tiny().eval()
    with torch.no_grad():
        feature_map, output = model.backbone(images()), model(images())
        expected = model.unit(feature_map.mean(dim=(2, 3)).unsqueeze(1)).squeeze(1)
    assert feature_map.shape == (6, 32, 4, 2)
    torch.testing.assert_close(output.descriptor, expected)
    assert (output.descriptor >= 0).all()
    assert [logits.shape for logits in output.logits] == [(6, 3)]
    assert [(b.name, b.start, b.stop, b.kind, b.rows) for b in model.layout] == [("global", 0, 6, "global", (0, 1))]


def test_describes_the_same_without_classifiers():
    trained, model = tiny().eval(), tiny(0).eval()
    model.load_state_dict({k: v for k, v in trained.state_dict().items() if "_classifiers." not in k})
    with torch.no_grad():
        output = model(images(1))
        assert torch.equal(output.descriptor, trained(images(1)).descriptor)
    assert output.logits == ()


def test_gradient_reaches_every_parameter_and_training_lowers_the_loss():
    model = tiny().train()
    randomise(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(20):
        loss = classification_loss(model(images()), PIDS, label_smoothing=0.1).total
        optimizer.zero_grad()
        loss.backward()
        if step == 1:
            assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(3), abs=0.1)
    assert losses[-1] < 0.7 * losses[0]


def test_bf16_trains():
    model = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = classification_loss(model(images()), PIDS).total
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def block(inputs: int, outputs: int) -> int:
    """Parameters: narrowing, ten lite convolutions, gate, widening, and the skip where the width changes."""
    mid = outputs // 4
    hidden = mid // 16
    lite = mid * mid + 9 * mid + 2 * mid
    gate = (mid + 1) * hidden + (hidden + 1) * mid
    skip = inputs * outputs + 2 * outputs if inputs != outputs else 0
    return inputs * mid + 2 * mid + 10 * lite + gate + mid * outputs + 2 * outputs + skip


# The paper's millions. The authors' code (``osnet_x1_0`` of torchreid) has the same layers, but its counter meets each
# gate once for each stream: 2,193,616 are these 2,169,508 and the gates three times more.
@pytest.mark.parametrize(
    ("width", "count", "millions"),
    [(1.0, 2_169_508, 2.2), (0.75, 1_285_754, 1.3), (0.5, 630_034, 0.6), (0.25, 201_864, 0.2)],
)
def test_parameters_of_each_width(width, count, millions):
    with torch.device("meta"):
        model, trained = (OSNetModel(width=width).build(num_ids) for num_ids in (0, 751))
    first, *stages = (int(c * width) for c in CHANNELS)
    expected = 3 * first * 49 + 2 * first
    for before, after in itertools.pairwise((first, *stages)):
        expected += block(before, after) + block(after, after) + after * after + 2 * after
    expected += (stages[-1] + 1) * 512 + 2 * 512
    assert parameters(model) == expected == count
    assert round(count / 1e6, 1) == millions
    assert parameters(trained) == count + (512 + 1) * 751
    gates = sum(parameters(m) for m in model.modules() if isinstance(m, AggregationGate))
    assert width != 1 or count + 3 * gates == 2_193_616


def test_size_and_work_at_the_papers_size():
    with torch.device("meta"):
        model = OSNetModel().build(0).eval()
        with FlopCounterMode(display=False) as counter:
            output = model(torch.empty(1, 3, 256, 128))
        assert model.backbone(torch.empty(2, 3, 256, 128)).shape == (2, 512, 16, 8)
    assert output.descriptor.shape == (1, 512)
    # The paper: 978.9 M multiplications and additions. A product and its sum are two operations to the counter.
    assert counter.get_total_flops() / 2 == pytest.approx(978.9e6, rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.width=0.6", "model.width=0.6: expected one of 1.0, 0.75, 0.5, 0.25"),
        ("data.height=250", "Images of 250 x 128 do not give OSNet a whole map"),
        ("data.width=0", "Images of 256 x 0 do not give OSNet a whole map"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(setting, expected):
    with pytest.raises(RecipeError) as caught:
        with_settings(find_recipe("osnet"), [setting])
    assert expected in str(caught.value)
    assert with_settings(find_recipe("osnet"), ["model.width=0.25", "data.height=128"]).model == OSNetModel(width=0.25)


def test_first_weights_are_those_of_the_authors_code():
    """Convolutions by He et al. (fan out); linear layers normal with deviation 0.01, without bias."""
    torch.manual_seed(0)
    model = OSNet(50)
    convolution = model.backbone[0][0]
    fan_out = convolution.out_channels * 49
    assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    for linear in (model.unit.linear, model.id_classifiers):
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert abs(linear.weight.mean().item()) < 1e-3
        assert not linear.bias.any()
