"""What rsyscall costs, measured side by side with the usual alternatives."""
