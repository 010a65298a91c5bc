"""Images as bytes and pixels: decoding, lossless encoding, crops and flips, and how visible a change is."""
