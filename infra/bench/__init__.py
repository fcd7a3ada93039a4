"""Our stream beside its peers on the same frames: answers compared first, then time."""
