"""Real images to synthetic images."""
