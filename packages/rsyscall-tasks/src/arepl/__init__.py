"""A Python prompt with top-level `await`, as an engine without a terminal or an event loop of its own.

* `arepl.repl`: `run_repl` talks to a person through two functions, one that reads bytes and one that writes
  them; `PureREPL` only takes lines and gives back results.
* `arepl.aeval`, `arepl.acompile`: evaluate one input, in which `await` and `return` may stand at the top.
* `arepl.astcodeop`: tells whether an input is complete.
* `arepl.help`: the text that `help` would show.

The input runs in this program, with all its rights. So take it only from users who may have these.
"""
