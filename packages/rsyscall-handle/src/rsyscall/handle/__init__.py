"""Handles: owning objects for file descriptors, memory and processes, and the tasks they are used through."""
