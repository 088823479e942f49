"""Headers of `<netinet/...>`."""
