"""Memory in the address space of a task: allocating it, and moving bytes to and from it.

* `rsyscall.memory.allocator`: which bytes are whose.
* `rsyscall.memory.local`, `rsyscall.memory.process_vm`, `rsyscall.memory.socket_transport`: moving bytes
  within our own address space, to others of this host, and to any. `rsyscall.memory.transport` says what a
  transport is.
* `rsyscall.memory.ram`: the two together, typed: `RAM.malloc` and `RAM.ptr`.
* `rsyscall.memory.span`: looking at memory without owning it.

Nothing here needs an event loop of its own or imports one: what is awaited is the `SyscallInterface` of the
task.
"""
