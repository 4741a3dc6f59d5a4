"""Does the chip compute the right thing? Single operations, whole layers, whole runs, the same again."""
