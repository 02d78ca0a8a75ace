"""Explain many images: results table, overlays and the HTML report."""

import argparse
import os
import sys

import torch

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.cli.common import (
    UsageError,
    as_lines,
    check_writable,
    choose_device,
    choose_network,
    errors_for_the_user,
    network_line,
)
from pytorch_grad_cam.cli.folder.discovery import find_images
from pytorch_grad_cam.cli.folder.distributed import Ranks
from pytorch_grad_cam.cli.folder.run import Job, explain_folder
from pytorch_grad_cam.cli.options import BATCH
from pytorch_grad_cam.cli.report import REPORT, write_report

SHOWN = 5  # failed images in the summary; the table lists all


def explain_images(options: argparse.Namespace, prog: str) -> tuple[str, int]:
    """Explain many images, in one process or in several that torchrun started.

    Args:
        options: parsed options of the command line.
        prog: program name, for messages.

    Returns:
        the summary (empty for ranks above 0) and the exit code, 1 if an image failed

    Raises:
        UsageError, PictureError, NetworkError: if the request cannot be fulfilled.
    """
    with Ranks() as ranks:
        check_writable(options.output_dir)
        device = _device_of_rank(options.device, ranks)
        root, paths = ranks.broadcast(lambda: find_images(options.image_path, options.output_dir))
        # No fallback: a table of another network's results would look like the requested one.
        network = choose_network(options, prog, or_demo=False)
        job = Job(
            root=root,
            paths=paths,
            output_dir=options.output_dir,
            network=network,
            weights=options.weights,
            device=device,
            methods=list(dict.fromkeys(options.methods or [options.method])),
            layers=options.target_layer,
            classes=list(dict.fromkeys(network.class_index(text) for text in options.category or ())),
            aug_smooth=options.aug_smooth,
            eigen_smooth=options.eigen_smooth,
            whole_image=options.whole_picture,
            save_maps=options.save_maps,
            batch_size=options.batch_size or BATCH,
            copies=options.batch_size,
            workers=_workers(ranks.local_count) if options.workers is None else options.workers,
            resume=options.resume,
        )
        try:
            with errors_for_the_user():
                rows = explain_folder(job, ranks)
        except OSError as error:
            raise UsageError(f"cannot write to {str(job.output_dir)!r}: {error.strerror or error}") from error
        except KeyboardInterrupt:
            print(
                f"{prog}: interrupted; results so far are in {str(job.output_dir)!r}; continue with --resume",
                file=sys.stderr,
            )
            raise
    if ranks.rank > 0:
        # Exit code 0: torchrun ends all processes after one error, and rank 0 still has a report to write.
        return "", 0
    code = int(any(row["error"] for row in rows))
    written = [job.output_dir / "results.csv", job.output_dir / "results.jsonl"]
    page = job.output_dir / REPORT
    older = page.exists() and not options.report
    if options.report:
        written.append(write_report(job.output_dir, root))
    failed = {row["path"]: row["error"] for row in rows if row["error"]}
    methods = dict.fromkeys((row["method"], row["layer"]) for row in rows if row["method"])
    lines = [
        ("images", f"{len(paths)} in {root}: {len(paths) - len(failed)} explained, {len(failed)} failed"),
        ("network", network_line(network, options)),
        *(("method", f"{METHODS[name].__name__} at layer {layer}") for name, layer in methods if name),
        *(("failed", f"{path}: {error}") for path, error in list(failed.items())[:SHOWN]),
        *[("failed", f"{len(failed) - SHOWN} more: see the table")][: len(failed) > SHOWN],
        *(("wrote", str(path)) for path in written),
        *[("left", f"{page}, of an earlier run; --report writes it again")][:older],
    ]
    return as_lines(lines), code


def _workers(processes: int) -> int:
    """Return the default number of DataLoader workers per process, given the processes on this machine."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cpus // processes, 1), 8)


def _device_of_rank(text: str | None, ranks: Ranks) -> torch.device:
    """Choose the device of this process: under torchrun one GPU each, if available or requested."""
    if ranks.launched and (text == "cuda" or (text is None and torch.cuda.is_available())):
        text = f"cuda:{ranks.local_rank % max(torch.cuda.device_count(), 1)}"
    return choose_device(text)
