"""Bytes a pixel that reading, changing and writing a picture takes at most."""

# By the format of the copy: measured with 24 megapixels, 9 for PNG, 13 for JPEG and 32 for WebP, whose encoder works on the whole picture.
WRITING = {"png": 16, "jpeg": 16, "webp": 34}
READING = 16
