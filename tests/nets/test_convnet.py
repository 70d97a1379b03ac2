"""The plain convolutional network."""

import torch
from torch import nn

from assay.nets import ConvNet
from assay.nets.dropout import Dropout
from assay.recipe import ConvNetSpec


def test_each_of_three_blocks_halves_the_side():
    net = ConvNet(ConvNetSpec())
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 128, 4, 4)
    assert net.channels == 128


def test_block_has_two_convolutions_pooling_and_dropout():
    block = ConvNet(ConvNetSpec(filters=(32,), dropout=0.3)).blocks[0]
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.MaxPool2d, Dropout]
    assert [type(module) for module in block] == kinds
    assert [module.p for module in block if isinstance(module, Dropout)] == [0.3]
    assert [module.out_channels for module in block if isinstance(module, nn.Conv2d)] == [32, 32]


def test_seed_decides_weights_and_dropout():
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        net = ConvNet(ConvNetSpec(filters=(4, 8))).train()
        return net(torch.ones(2, 3, 8, 8))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_dropout_is_active_in_training_only():
    torch.manual_seed(0)
    net = ConvNet(ConvNetSpec(filters=(16,), dropout=0.5))
    images = torch.randn(4, 3, 16, 16)
    dropped = (net.train()(images) == 0).float().mean()
    kept = (net.eval()(images) == 0).float().mean()
    assert dropped > kept + 0.3
