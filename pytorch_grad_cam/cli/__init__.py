"""Command line `grad-cam`, or `python cam.py`: explain an image or a folder of images."""

import argparse
import sys
from collections.abc import Sequence

from pytorch_grad_cam.cli.checkpoints import NetworkError
from pytorch_grad_cam.cli.common import UsageError
from pytorch_grad_cam.cli.options import make_parser, with_dashes
from pytorch_grad_cam.cli.single_image import explain_image
from pytorch_grad_cam.utils.image_files import PictureError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: explain the images, write the results, print a summary.

    Args:
        argv: command-line arguments; None reads `sys.argv[1:]`.

    Returns:
        exit code: 0; 1 if an image of a folder could not be explained; 130 after Ctrl-C

    Raises:
        SystemExit: with code 2, after one line on standard error, if the request cannot be fulfilled.
    """
    parser = make_parser()
    options = parser.parse_args([with_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)])
    # Set here: with a default, the parser could not refuse --method together with --methods.
    options.method = options.method or "gradcam"
    code = 0
    try:
        if _needs_table(options):
            from pytorch_grad_cam.cli.image_folder import explain_images

            report, code = explain_images(options, parser.prog)
        else:
            report = explain_image(options, parser.prog)
    except (UsageError, PictureError, NetworkError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    if report:
        # A file name may hold characters that the console's encoding lacks.
        encoding = sys.stdout.encoding or "utf-8"
        print(report.encode(encoding, "backslashreplace").decode(encoding))
    return code


def _needs_table(options: argparse.Namespace) -> bool:
    """Return True for several images, or for an option of folder runs."""
    from pytorch_grad_cam.cli.folder.discovery import means_several

    if options.list_layers:
        return False
    folder_options = [name for name in ("methods", "resume", "save_maps", "report") if getattr(options, name)]
    if options.image_path is None and folder_options:
        option = folder_options[0].replace("_", "-")
        raise UsageError(f"--{option} needs --image-path: a folder, a glob or images")
    return bool(folder_options) or (options.image_path is not None and means_several(options.image_path))
