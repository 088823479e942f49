"""Memory in the address space of a task: allocating it, and moving bytes to and from it.

* `rsyscall.memory.allocator`: gives out bytes, and takes them back.
* `rsyscall.memory.local`, `rsyscall.memory.process_vm`, `rsyscall.memory.socket_transport`: moving bytes
  within our own address space, to others of this host, and to any. `rsyscall.memory.transport` says what a
  transport is.
* `rsyscall.memory.ram`: the two together, typed: `RAM.malloc` and `RAM.ptr`.
* `rsyscall.memory.span`: looking at memory without owning it.

Nothing here needs or imports an event loop: the code awaits only the `SyscallInterface` of the task.
"""
