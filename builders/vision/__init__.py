"""What can be told from a video's frames: measures of quality, perceptual hashes, descriptors; and sheets to look at."""
