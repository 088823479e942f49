"""Channels between the program and the processes it drives: see `rsyscall.network.connection`."""
