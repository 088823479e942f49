"""Headers of `<net/...>`."""
