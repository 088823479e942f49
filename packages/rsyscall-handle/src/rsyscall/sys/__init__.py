"""Header modules of `<sys/…>`: constants, structures and the calls declared there."""
