"""What rsyscall costs, compared with what else one would use, measured side by side."""
