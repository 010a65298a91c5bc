"""Array aliases and the axis legend; imports nothing of ours, and not torch: tasks that only read bytes start without it.

Axes: N rows of the collection, n rows of a sample, B rows of a batch, S slots, D feature width, C H W channels, height, width.
Pixels are uint8 RGB in `H W 3` order outside torch and float in [0, 1] in `B 3 H W` order inside it.
"""

import numpy as np
from jaxtyping import Float32, Int8, Int32, UInt8

Rng = np.random.Generator
Pixels = UInt8[np.ndarray, "H W 3"]
PixelBlock = UInt8[np.ndarray, "n H W 3"]
SlotOf = Int32[np.ndarray, " n"]
Vectors = Float32[np.ndarray, "n D"]
Centers = Float32[np.ndarray, "S D"]
Bank = Int8[np.ndarray, "S 3 h w"]
