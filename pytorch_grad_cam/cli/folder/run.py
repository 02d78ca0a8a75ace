"""Run over many images: skip finished ones, explain batch by batch, write overlays and rows."""

import hashlib
import io
import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pytorch_grad_cam import METHODS, __version__
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam._engine.progress import progress_bar
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.cli.folder.distributed import Ranks
from pytorch_grad_cam.cli.folder.journal import Journal, Record, read_records, rewrite
from pytorch_grad_cam.cli.folder.loading import (
    Batch,
    DecodedImage,
    ImageFiles,
    collate,
    fingerprint_of,
    ignore_interrupts,
)
from pytorch_grad_cam.cli.folder.results import Row, failed_row, remove_tables, to_utf8, write_tables
from pytorch_grad_cam.cli.networks import Network
from pytorch_grad_cam.cli.overlays import file_stems, overlay
from pytorch_grad_cam.dataset import ImageResult, explain_batch
from pytorch_grad_cam.utils.image_files import encode_jpeg, remove_unfinished, write_whole

_ENCODERS = 2  # threads, which write one batch while the next is explained


@dataclass(frozen=True, eq=False)
class Job:
    """Settings of a folder run.

    Attributes:
        root: folder of the images.
        paths: image files, relative to root.
        output_dir: folder of the results.
        network: classifier, on the CPU.
        weights: value of `--weights`: None, "random" or a path.
        device: device to compute on.
        methods: names in METHODS.
        layers: dotted names of the target layers; None chooses them by the first image.
        classes: class indices to explain; empty explains the highest score of each image.
        aug_smooth: average the maps over six augmented copies.
        eigen_smooth: keep the first principal component of the weighted activations.
        whole_image: overlay the map on the whole image, not on the network's input.
        save_maps: also write the maps as .npz files.
        batch_size: images per forward pass.
        copies: copies of an image per forward pass, for perturbation methods; None chooses.
        workers: processes that decode images; 0 decodes in the main process.
        resume: keep the results that an earlier run completed.
    """

    root: Path
    paths: Sequence[str]
    output_dir: Path
    network: Network
    weights: str | None
    device: torch.device
    methods: Sequence[str]
    layers: Sequence[str] | None
    classes: Sequence[int]
    aug_smooth: bool
    eigen_smooth: bool
    whole_image: bool
    save_maps: bool
    batch_size: int
    copies: int | None
    workers: int
    resume: bool

    @property
    def settings(self) -> str:
        """Hash of everything that a row depends on, except the image."""
        excluded = ("root", "paths", "output_dir", "network", "device", "batch_size", "copies", "workers", "resume")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in excluded}
        weights = fingerprint_of(Path(self.weights)) if self.weights else None
        text = json.dumps([__version__, self.network.name, weights, values], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def explain_folder(job: Job, ranks: Ranks) -> list[Row]:
    """Explain the images that are left and write the tables; after Ctrl-C, those of the finished images.

    Args:
        job: settings of the run.
        ranks: rank of this process; each rank explains its share of the batches.

    Returns:
        the rows of all ranks in rank 0, an empty list in the others

    Raises:
        TypeError, ValueError, IndexError, RuntimeError: if the first readable image cannot be explained.
        OSError: if the records or the tables cannot be written.
    """
    cams = [METHODS[name](job.network.model.to(job.device), job.layers, batch_size=job.copies) for name in job.methods]
    left = ranks.broadcast(lambda: _prepare(job, cams))
    try:
        if left:
            if ranks.rank > 0:
                _try_the_first(job, cams)
            _explain(job, cams, left[ranks.rank :: ranks.count], ranks)
        ranks.barrier()
    except KeyboardInterrupt:
        if ranks.rank == 0:
            _write(job)
        raise
    return _write(job) if ranks.rank == 0 else []


def _prepare(job: Job, cams: Sequence[BaseCAM]) -> list[list[int]]:
    """Delete outdated results and return the positions of the images left to explain, batch by batch.

    Batch boundaries are the same with `--resume`: the last bits of a map may depend on its batch.
    """
    done = _complete(job) if job.resume else {}
    left = [at for at, path in enumerate(job.paths) if path not in done]
    if left:
        _try_the_first(job, cams)  # if this fails, the output folder is unchanged
    rewrite(job.output_dir, list(done.values()))
    remove_unfinished(job.output_dir)
    remove_tables(job.output_dir)
    batches: dict[int, list[int]] = {}
    for at in left:
        batches.setdefault(at // job.batch_size, []).append(at)
    return list(batches.values())


def _complete(job: Job) -> dict[str, Record]:
    """Return the records of finished images that have not changed and whose output files exist, by path."""
    settings, wanted = job.settings, {to_utf8(path): path for path in job.paths}
    complete = {}
    for record in read_records(job.output_dir):
        path, rows = wanted.get(record["path"]), record["rows"]
        if path is None or record["settings"] != settings or any(row["error"] for row in rows):
            continue
        fingerprint = fingerprint_of(job.root / path)
        files = [row[kind] for row in rows for kind in ("overlay", "maps") if row[kind]]
        unchanged = fingerprint and list(fingerprint) == record.get("fingerprint")
        if unchanged and all(map(_is_whole, (job.output_dir / file for file in files))):
            complete[path] = record
    return complete


def _is_whole(path: Path) -> bool:
    fingerprint = fingerprint_of(path)
    return fingerprint is not None and fingerprint[0] > 0


def _try_the_first(job: Job, cams: Sequence[BaseCAM]) -> None:
    """Explain the first readable image; target layers that were left out are chosen by it, in all ranks."""
    files = ImageFiles(job.root, job.paths, job.network.preset, whole=False)
    first = next((inputs for inputs, _ in map(files.__getitem__, range(len(files))) if inputs is not None), None)
    if first is not None:
        explain_batch(cams, first[None], _targets(job, 1), job.aug_smooth, job.eigen_smooth)


def _targets(job: Job, count: int) -> Any:
    return (lambda _: [list(job.classes)] * count) if job.classes else None


def _explain(job: Job, cams: Sequence[BaseCAM], batches: Sequence[Sequence[int]], ranks: Ranks) -> None:
    journal, settings = Journal(job.output_dir, ranks.rank), job.settings
    paths = [job.paths[at] for batch in batches for at in batch]
    files = ImageFiles(job.root, job.paths, job.network.preset, job.whole_image)
    loader: DataLoader[Any] = DataLoader(
        files,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=min(job.workers, len(batches)),
        worker_init_fn=ignore_interrupts,
    )
    writing: deque[tuple[list[Future[list[Row]]], list[DecodedImage]]] = deque()

    def record_one_batch() -> None:
        futures, images = writing.popleft()
        rows = [future.result() for future in futures]
        journal.append(
            [
                {
                    "path": to_utf8(image.path),
                    "settings": settings,
                    "fingerprint": image.fingerprint,
                    "rows": image_rows,
                }
                for image, image_rows in zip(images, rows, strict=True)
            ]
        )
        update_progress(len(images))

    first_only = None if ranks.rank == 0 else False
    with (
        progress_bar(", ".join(job.methods), len(paths), " images", first_only, leave=True) as update_progress,
        ThreadPoolExecutor(_ENCODERS) as encoders,
    ):
        try:
            for batch in loader:
                jobs = _explain_batch(job, cams, batch)
                images = [explained[0] for explained in jobs]
                writing.append(([encoders.submit(_write_image, job, *explained) for explained in jobs], images))
                if len(writing) > 1:
                    record_one_batch()
        finally:
            while writing:  # also after Ctrl-C
                record_one_batch()


_Explained = tuple[DecodedImage, Tensor | None, "list[tuple[str, str, ImageResult]]"]
"""Image, its input (1, 3, H, W) or None if it failed, and (method, layer, result) of each method."""


def _explain_batch(job: Job, cams: Sequence[BaseCAM], batch: Batch) -> list[_Explained]:
    inputs, images, failed = batch
    explained: list[_Explained] = [(image, None, []) for image in failed]
    if inputs is None:
        return explained
    try:
        return explained + list(_results(job, cams, inputs, images))
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        if len(images) == 1:
            reason = f"cannot be explained: {type(error).__name__}: {error}"
            return [*explained, (DecodedImage(images[0].path, images[0].fingerprint, error=reason), None, [])]
    # One bad image, or too little memory for the batch: explain the images one by one.
    for single_input, image in zip(inputs.split(1), images, strict=True):
        explained += _explain_batch(job, cams, (single_input, [image], []))
    return explained


def _results(job: Job, cams: Sequence[BaseCAM], inputs: Tensor, images: Sequence[DecodedImage]) -> Iterator[_Explained]:
    results = explain_batch(cams, inputs, _targets(job, len(images)), job.aug_smooth, job.eigen_smooth)
    layers = [", ".join(layer_name(job.network.model, layer) for layer in cam.target_layers or ()) for cam in cams]
    for at, image in enumerate(images):
        image_results = results[at * len(cams) : (at + 1) * len(cams)]
        yield image, inputs[at : at + 1], list(zip(job.methods, layers, image_results, strict=True))


def _write_image(
    job: Job, image: DecodedImage, inputs: Tensor | None, image_results: Sequence[tuple[str, str, ImageResult]]
) -> list[Row]:
    """Write the files of an image, all or none, and return its rows."""
    if inputs is None:
        return [failed_row(image.path, image.error or "no input")]
    files: dict[Path, bytes] = {}
    rows = []
    whole = None if image.pixels is None else image.pixels.numpy()
    seen = job.network.preset.crop_box(image.size)
    try:
        for method, layer, result in image_results:
            classes = result.classes or ()
            stems = file_stems(method, job.network, classes)
            for at, (stem, index) in enumerate(zip(stems, classes, strict=True)):
                heat, score = result.maps[at], (result.scores or ())[at]
                if not math.isfinite(score):
                    return [
                        failed_row(image.path, f"its score is {score}: {result.warnings[at] or 'check the weights'}")
                    ]
                # Keep the suffix: a.png and a.jpg are two images.
                name = f"{to_utf8(image.path)}.{stem}"
                pixels = overlay(torch.from_numpy(heat), inputs, job.network.preset, whole)
                files[job.output_dir / f"{name}.jpg"] = encode_jpeg(pixels)
                if job.save_maps:
                    buffer = io.BytesIO()
                    np.savez(buffer, map=heat, seen=seen)
                    files[job.output_dir / f"{name}.npz"] = buffer.getvalue()
                rows.append(
                    Row(
                        {
                            "path": to_utf8(image.path),
                            "class": job.network.classes[index],
                            "index": index,
                            "score": float(f"{score:.6g}"),
                            "method": method,
                            "layer": layer,
                            "box": _box_in_image(result.boxes[at], heat.shape, seen),
                            "overlay": f"{name}.jpg",
                            "maps": f"{name}.npz" if job.save_maps else None,
                            "seconds": round(result.seconds / len(classes), 6),
                            "warnings": [why] if (why := result.warnings[at]) else [],
                            "error": None,
                        }
                    )
                )
        for folder in {path.parent for path in files}:
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(files)
    # Too many pixels for a JPEG, too long a name, a folder of that name, a full disk.
    except (ValueError, OSError) as error:
        return [failed_row(image.path, f"cannot write its overlay: {error}")]
    return rows


def _box_in_image(box: Any, size: tuple[int, ...], seen: tuple[int, int, int, int]) -> list[int] | None:
    """Convert a box from pixels of the input, of size (H, W), to pixels of the image; None if it is empty.

    Args:
        box: (x0, y0, x1, y1) in the input, x1 and y1 exclusive.
        size: (H, W) of the input.
        seen: (x0, y0, x1, y1) of the part of the image that the network saw.
    """
    if not box.any():
        return None
    left, top, right, bottom = seen
    scale = [(right - left) / size[1], (bottom - top) / size[0]] * 2
    edges = [round(start + side * by, 6) for start, side, by in zip((left, top) * 2, box.tolist(), scale, strict=True)]
    return [*map(math.floor, edges[:2]), *map(math.ceil, edges[2:])]


def _write(job: Job) -> list[Row]:
    """Write the tables of all recorded images and return their rows."""
    wanted = {to_utf8(path) for path in job.paths}
    rows = {record["path"]: record["rows"] for record in read_records(job.output_dir) if record["path"] in wanted}
    table: list[Row] = [row for path in sorted(rows) for row in rows[path]]
    write_tables(job.output_dir, table)
    return table
