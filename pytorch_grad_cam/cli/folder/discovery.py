"""Find image files: in folders, by globs, or by path."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytorch_grad_cam.utils.image_files import PictureError

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jpe", ".jfif", ".apng", ".dib", ".avif",
    ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".pcx", ".psd", ".mpo",
)  # fmt: skip
"""File name suffixes of images in a folder; a glob takes every file that it matches."""


def means_several(paths: Sequence[str]) -> bool:
    """Return True if the paths are several, a folder or a glob."""
    return len(paths) > 1 or os.path.isdir(paths[0]) or _is_glob(paths[0])


def find_images(paths: Sequence[str], leave_out: Path) -> tuple[Path, list[str]]:
    """Find image files in folders, by globs and by path.

    Folders are searched recursively. Names that begin with a dot are skipped. A subfolder that cannot be listed is
    returned as a path, so that its failure is reported.

    Args:
        paths: folders, globs and files.
        leave_out: folder of the results; images in it are skipped.

    Returns:
        the common root folder, and the paths relative to it, sorted

    Raises:
        PictureError: if no image matches, or `leave_out` is the root folder itself.
    """
    for path in filter(os.path.isdir, paths):
        if not os.access(path, os.R_OK | os.X_OK):
            raise PictureError(f"no permission to list the folder {path!r}")
    roots = [_root(path) for path in paths]
    root = Path(roots[0] if len(paths) == 1 else os.path.commonpath([os.path.abspath(root) for root in roots]))
    results, images = os.path.realpath(leave_out), os.path.realpath(root)
    if results == images and not all(map(os.path.isfile, paths)):
        raise PictureError(f"the results would lie among the images in {str(root)!r}: choose another --output-dir")
    inside = _holds(images, results) and results != images
    matches = {
        Path(os.path.relpath(match, root)).as_posix()
        for path in paths
        for match in _matches(path)
        if not (inside and _holds(results, os.path.realpath(os.path.dirname(match))))
    }
    if not matches:
        kinds = "folders" if len(paths) > 1 else "a folder" if os.path.isdir(paths[0]) else "a pattern"
        raise PictureError(
            f"{', '.join(map(repr, paths))} is {kinds} without images; expected file names such as "
            f"{', '.join('*' + suffix for suffix in SUFFIXES[:6])}, here or in subfolders"
        )
    return root, sorted(matches)


def _root(path: str) -> str:
    """Return the folder that the matches of a path are relative to."""
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
        # A link to a parent folder would recurse forever.
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
