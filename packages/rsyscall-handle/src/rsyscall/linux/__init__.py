"""Header modules of `<linux/…>`: what exists on Linux only."""
