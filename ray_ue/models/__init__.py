"""Networks: the victims and small backbones, generators, self-supervised training, and pretrained image towers."""
