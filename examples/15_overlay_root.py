"""A container whose root is an overlay: an image that belongs to root, below what the container writes.

The root of the container is an ordinary user outside. Its copy of the mount of the image is id-mapped, so
that there the files belong to it, too. It takes root to do that.
"""

from __future__ import annotations

import tempfile

import trio

from rsyscall import ChildThread, Limits, local_thread
from rsyscall.id_maps import IdMaps, IdRange
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MOUNT_ATTR

FLAGS = CLONE.NEWUSER | CLONE.NEWNS | CLONE.FILES
IDS = [IdRange(0, outside=100_000, count=65536)]
SCRIPT = "stat -c 'owner: %u' /etc/app.conf; echo changed >> /etc/app.conf; cat /etc/app.conf"


async def build_image(image: str) -> None:
    """Make directories for what is mounted, links into /usr, and a file for root alone."""
    for directory in ("etc", "usr", "mnt"):
        await local_thread.mkdir(f"{image}/{directory}")
    for name in ("bin", "lib", "lib64"):
        await local_thread.symlink(f"usr/{name}", f"{image}/{name}")
    await local_thread.write_file(f"{image}/etc/app.conf", "of the image\n", mode=0o600)


async def enter_root(container: ChildThread, image: str) -> None:
    """Mount the image and a place for changes as one, and make that the root. We share descriptors."""
    userns = await container.open("/proc/self/ns/user")
    layer = await local_thread.copy_mount(image, attributes=MOUNT_ATTR.RDONLY, userns=userns)
    await Limits(user=0, group=0, extra_groups=()).apply(container)
    await container.make_rprivate()
    await container.mount_tmpfs("/mnt")
    for name in ("lower", "upper", "work", "root"):
        await container.mkdir(f"/mnt/{name}")
    await container.attach_mount(layer, "/mnt/lower")
    options = {f"{name}dir": f"/mnt/{name}" for name in ("lower", "upper", "work")}
    overlay = await container.make_mount("overlay", options)
    await container.attach_mount(overlay, "/mnt/root")
    await container.bind_mount("/usr", "/mnt/root/usr", readonly=True)
    await container.switch_root("/mnt/root")


async def main() -> None:
    with tempfile.TemporaryDirectory() as image:
        await build_image(image)
        container = await local_thread.clone(FLAGS, id_maps=IdMaps(IDS, IDS))
        async with container.process:
            await enter_root(container, image)
            await container.run(container.environ.sh.args("-c", SCRIPT))
        print("outside:", (await local_thread.read_file(f"{image}/etc/app.conf")).decode().strip())


if __name__ == "__main__":
    trio.run(main)
