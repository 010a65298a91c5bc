"""Networks that no library has: the UC generator, small-image backbones, and image towers cut before their last layer."""
