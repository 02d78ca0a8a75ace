"""The command line, `grad-cam` or `python cam.py`: which pixels made a network name a picture."""

import argparse
import sys
from collections.abc import Sequence

from pytorch_grad_cam.cli.checkpoints import NetworkError
from pytorch_grad_cam.cli.common import UsageError
from pytorch_grad_cam.cli.options import make_parser, with_dashes
from pytorch_grad_cam.cli.single_image import explain_picture
from pytorch_grad_cam.utils.image_files import PictureError


def main(argv: Sequence[str] | None = None) -> int:
    """Explain a picture, write the result and say so.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        0, or 1 if some of many pictures could not be explained, or 130 if it was interrupted

    Raises:
        SystemExit: with code 2, after one line on standard error, if what was asked for cannot be done.
    """
    parser = make_parser()
    options = parser.parse_args([with_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)])
    # No default of the parser, which would not see that both were given.
    options.method = options.method or "gradcam"
    code = 0
    try:
        if _means_a_table(options):
            from pytorch_grad_cam.cli.image_folder import explain_pictures

            report, code = explain_pictures(options, parser.prog)
        else:
            report = explain_picture(options, parser.prog)
    except (UsageError, PictureError, NetworkError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    if report:
        # A file name, or a console, may have letters that the other has not.
        encoding = sys.stdout.encoding or "utf-8"
        print(report.encode(encoding, "backslashreplace").decode(encoding))
    return code


def _means_a_table(options: argparse.Namespace) -> bool:
    """Whether many pictures are asked for, or what there is for many only."""
    from pytorch_grad_cam.cli.folder.discovery import means_several

    if options.list_layers:
        return False
    asked = [name for name in ("methods", "resume", "save_maps", "report") if getattr(options, name)]
    if options.image_path is None and asked:
        raise UsageError(f"--{asked[0].replace('_', '-')} needs --image-path: a folder, a glob or pictures")
    return bool(asked) or (options.image_path is not None and means_several(options.image_path))
