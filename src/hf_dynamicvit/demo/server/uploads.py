# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Keep uploads on the disk from when they were sent until they are read."""

import time
from contextlib import suppress
from pathlib import Path


# Seconds after which an upload that nobody read is deleted.
STALE = 120


class Uploads:
    """The uploads in `folder`, at most `most`.

    Args:
        folder: where Gradio puts them.
        most: how many there may be at once.
        known: their paths in Gradio's own memory, which are the names that visitors gave them; kept in step.
    """

    def __init__(self, folder: Path, most: int, known: set[str]):
        self.folder, self.most, self.known = folder, most, known

    def __contains__(self, path: str) -> bool:
        """Return whether `path` is a file where Gradio puts what was sent: in a folder of its own in `folder`."""
        file = Path(path)
        try:
            return file.resolve() == file and file.parent.parent == self.folder and file.is_file()
        except (ValueError, OSError):  # a zero byte, or far too long
            return False

    def files(self) -> list[Path]:
        """List all of them, and what is left of some that failed; the oldest first."""
        found = []
        for file in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # it was read just now
                if file.is_file():
                    found.append((file.stat().st_mtime, file))
        return [file for _, file in sorted(found)]

    def delete(self, file: Path) -> None:
        self.known.discard(str(file))
        file.unlink(missing_ok=True)
        if file.parent != self.folder:
            with suppress(OSError):  # the same image came in once more; who sent that deletes it
                file.parent.rmdir()

    def make_room(self) -> None:
        """Delete what nobody read in time, and of as many as there may be the oldest."""
        files = self.files()
        too_many = len(files) - self.most + 1
        for index, file in enumerate(files):
            with suppress(FileNotFoundError):  # it was read just now
                if index < too_many or time.time() - file.stat().st_mtime > STALE:
                    self.delete(file)
