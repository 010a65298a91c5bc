"""Names of the networks that this package trains from scratch; it imports no torch."""

# In order of cost. A test holds this list and the builders of models/classifiers.py equal.
SMALL = ("linear", "mlp2", "mlp3", "lenet5", "fast", "small", "plain")

TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_b1",
    "mobilenet_v2",
    "regnet_x_1_6gf",
    "vgg11_bn",
    "vgg19_bn",
    "vit_b_16",
)

NETS = (*SMALL, *TORCHVISION)

FLAT = ("linear", "mlp2", "mlp3")  # see no neighbourhoods, so contrastive views teach them nothing

UNNORMALISED = (*FLAT, "lenet5", "vit_b_16")  # without batch norm the fast schedule's rate is ten times too high for them
