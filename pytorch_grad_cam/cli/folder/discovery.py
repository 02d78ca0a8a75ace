"""Which pictures are meant: those of a folder, of a glob, or named one by one."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytorch_grad_cam.utils.image_files import PictureError

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jpe", ".jfif", ".apng", ".dib", ".avif",
    ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".pcx", ".psd", ".mpo",
)  # fmt: skip
"""Of a folder, the files with these names are pictures; a glob takes all that it matches."""


def means_several(paths: Sequence[str]) -> bool:
    """Whether what a user gave as a path is more than one picture: a folder, a glob, or several files."""
    return len(paths) > 1 or os.path.isdir(paths[0]) or _is_glob(paths[0])


def find_pictures(paths: Sequence[str], leave_out: Path) -> tuple[Path, list[str]]:
    """The folder that the pictures lie in, and their paths relative to it, sorted.

    A folder is searched with all that lies below it; names that begin with a dot are left out, as the shell does. A
    folder that cannot be listed stands for what is in it, so that it is not passed over in silence.

    Args:
        paths: folders, globs and files.
        leave_out: a folder whose files are no pictures to explain: the one that results are written to.

    Raises:
        PictureError: if there is none, or the results would lie among them.
    """
    for path in filter(os.path.isdir, paths):
        if not os.access(path, os.R_OK | os.X_OK):
            raise PictureError(f"no permission to list the folder {path!r}")
    roots = [_root(path) for path in paths]
    root = Path(roots[0] if len(paths) == 1 else os.path.commonpath([os.path.abspath(one) for one in roots]))
    results, pictures = os.path.realpath(leave_out), os.path.realpath(root)
    if results == pictures and not all(map(os.path.isfile, paths)):
        raise PictureError(f"the results would lie among the pictures in {str(root)!r}: choose another --output-dir")
    inside = _holds(pictures, results) and results != pictures
    found = {
        Path(os.path.relpath(match, root)).as_posix()
        for path in paths
        for match in _matches(path)
        if not (inside and _holds(results, os.path.realpath(os.path.dirname(match))))
    }
    if not found:
        kinds = "folders" if len(paths) > 1 else "a folder" if os.path.isdir(paths[0]) else "a pattern"
        raise PictureError(
            f"{', '.join(map(repr, paths))} is {kinds} without pictures; expected files with names such as "
            f"{', '.join('*' + suffix for suffix in SUFFIXES[:6])}, here or in folders below"
        )
    return root, sorted(found)


def _root(path: str) -> str:
    """The folder that the names of its matches are relative to."""
    if os.path.isdir(path):
        return path
    folder = os.path.dirname(path)
    while _is_glob(folder):
        folder = os.path.dirname(folder)
    return folder or "."


def _is_glob(path: str) -> bool:
    return glob.has_magic(path) and not os.path.lexists(path)


def _matches(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        yield from _below(path)
    elif _is_glob(path):
        yield from (match for match in glob.iglob(path, recursive=True) if not os.path.isdir(match))
    else:
        yield path


def _below(folder: str) -> Iterator[str]:
    unreadable: list[str] = []
    for inside, folders, files in os.walk(folder, onerror=lambda e: unreadable.append(e.filename), followlinks=True):
        here = os.path.realpath(inside)
        # A link to a folder above this one would lead round and round.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not _holds(os.path.realpath(os.path.join(inside, name)), here)
        ]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield os.path.join(inside, name)
    yield from unreadable


def _holds(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder
