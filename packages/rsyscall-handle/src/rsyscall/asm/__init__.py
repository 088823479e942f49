"""Headers of `<asm/...>`: what only some architectures have."""
