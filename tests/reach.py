"""Files of a test for other users."""

from __future__ import annotations

import os
from pathlib import Path


def let_others_reach(path: Path) -> None:
    """Let all users enter the directories that lead to `path`, and read them.

    Those that they may enter already are left as they are: they may be on a file system that is read-only.
    """
    for directory in path.parents:
        mode = directory.stat().st_mode
        # Another user may still be in our group.
        if mode & 0o055 != 0o055 and directory.stat().st_uid == os.geteuid():
            directory.chmod(mode | 0o055)
