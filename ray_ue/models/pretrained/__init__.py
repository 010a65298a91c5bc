"""Pretrained networks by name: open_clip, torchvision, and self-supervised ones that a run trains itself."""
