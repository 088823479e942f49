"""Ways to obtain a thread, and the interfaces that drive one."""
