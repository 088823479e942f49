"""Run tools that may read the system, write in one directory and do little else, without any privilege."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

import trio

from rsyscall import ChildThread, local_thread
from rsyscall.fcntl import O
from rsyscall.linux.landlock import LANDLOCK_ACCESS_FS as FS
from rsyscall.linux.landlock import LANDLOCK_ACCESS_NET as NET
from rsyscall.linux.landlock import LANDLOCK_SCOPE as SCOPE
from rsyscall.linux.landlock import PathBeneathAttr, RulesetAttr

READ = FS.EXECUTE | FS.READ_FILE | FS.READ_DIR


async def confine(child: ChildThread, allowed: Mapping[str, FS]) -> None:
    """Take away all rights that this kernel can take away, except these below these directories."""
    abi = await child.task.landlock_abi()
    handled = FS.of_abi(abi)
    attr = await child.ptr(RulesetAttr(handled, NET.of_abi(abi), SCOPE.of_abi(abi)))
    async with await child.task.landlock_create_ruleset(attr) as ruleset:
        for path, access in allowed.items():
            async with await child.open(path, O.PATH) as parent:
                rule = PathBeneathAttr(access & handled, parent)
                await ruleset.landlock_add_rule(await child.ptr(rule))
        await child.task.prctl_set_no_new_privs()
        await ruleset.landlock_restrict_self()


async def main() -> None:
    allowed = {path: READ for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(path)}
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as work:
        await local_thread.write_file(f"{home}/secret", "a secret\n")
        allowed[work] = ~FS.NONE
        for what, script in {
            "write in its directory": f"echo text > {work}/result && cat {work}/result",
            "read a file of its user": f"cat {home}/secret",
            "write a file of its user": f"echo >> {home}/secret",
            "signal our program": f"kill -0 {os.getpid()}",
        }.items():
            child = await local_thread.clone()
            async with child.process:
                await confine(child, allowed)
                tool = child.environ.sh.args("-c", script)
                result = await child.run(tool, check=False, capture=True)
                print(f"{what}: {'done' if result.exit_status == 0 else 'denied'}")


if __name__ == "__main__":
    trio.run(main)
