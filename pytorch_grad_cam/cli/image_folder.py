"""Many pictures, explained: a table, an overlay for each, a page to look at."""

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
from pytorch_grad_cam.cli.folder.discovery import find_pictures
from pytorch_grad_cam.cli.folder.distributed import Ranks
from pytorch_grad_cam.cli.folder.run import Job, explain_folder
from pytorch_grad_cam.cli.options import BATCH
from pytorch_grad_cam.cli.report import REPORT, write_report

SHOWN = 5  # failed pictures; the others are in the table


def explain_pictures(options: argparse.Namespace, prog: str) -> tuple[str, int]:
    """Explain many pictures, in one or several processes; what was done, said by the first, and the exit code.

    Raises:
        UsageError, PictureError, NetworkError: if it cannot be done.
    """
    with Ranks() as ranks:
        check_writable(options.output_dir)
        device = _device_of_rank(options.device, ranks)
        root, paths = ranks.from_first(lambda: find_pictures(options.image_path, options.output_dir))
        # A table of what another network says of photographs would look like one of what was asked for.
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
            whole_picture=options.whole_picture,
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
            print(f"{prog}: interrupted; what is done is in {str(job.output_dir)!r}, --resume goes on", file=sys.stderr)
            raise
    if ranks.rank > 0:
        # The first alone says that some failed: torchrun ends all where one does, and the first has a report to write.
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
        ("pictures", f"{len(paths)} in {root}: {len(paths) - len(failed)} explained, {len(failed)} failed"),
        ("network", network_line(network, options)),
        *(("method", f"{METHODS[name].__name__} at layer {layer}") for name, layer in methods if name),
        *(("failed", f"{path}: {error}") for path, error in list(failed.items())[:SHOWN]),
        *[("failed", f"{len(failed) - SHOWN} more: see the table")][: len(failed) > SHOWN],
        *(("wrote", str(path)) for path in written),
        *[("left", f"{page}, of an earlier run; --report writes it again")][:older],
    ]
    return as_lines(lines), code


def _workers(processes: int) -> int:
    """How many workers each of the processes on this machine has."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cpus // processes, 1), 8)


def _device_of_rank(text: str | None, ranks: Ranks) -> torch.device:
    """The device of this process: one GPU each, where there are GPUs or they are asked for."""
    if ranks.launched and (text == "cuda" or (text is None and torch.cuda.is_available())):
        text = f"cuda:{ranks.local_rank % max(torch.cuda.device_count(), 1)}"
    return choose_device(text)
