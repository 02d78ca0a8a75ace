"""A run over many pictures: what is left to do, one batch for each forward pass, files and rows of each picture."""

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
    Picture,
    PictureFiles,
    collate,
    leave_interrupts_to_the_main_process,
    stamp_of,
)
from pytorch_grad_cam.cli.folder.results import Row, failed_row, plain, remove_tables, write_tables
from pytorch_grad_cam.cli.networks import Network
from pytorch_grad_cam.cli.overlays import file_stems, overlay
from pytorch_grad_cam.dataset import ImageResult, explain_batch
from pytorch_grad_cam.utils.image_files import encode_jpeg, remove_unfinished, write_whole

_ENCODERS = 2  # threads; one batch is explained while they write the one before


@dataclass(frozen=True, eq=False)
class Job:
    """What to explain, and how.

    Attributes:
        root: the folder of the pictures.
        paths: of the pictures, relative to it.
        output_dir: the folder of the results.
        network: on the CPU.
        weights: of the network, as they were asked for.
        device: to compute on.
        methods: names in METHODS.
        layers: where the maps are made; None chooses, by the first picture.
        classes: to explain; empty is the best one of each picture.
        aug_smooth, eigen_smooth: as a method takes them.
        whole_picture: lay the map over all of the picture.
        save_maps: write the maps themselves, too.
        batch_size: pictures for one forward pass.
        copies: of a picture at once, for methods that need many; None chooses.
        workers: processes that decode; 0 is this one.
        resume: keep what an earlier run has completed.
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
    whole_picture: bool
    save_maps: bool
    batch_size: int
    copies: int | None
    workers: int
    resume: bool

    @property
    def settings(self) -> str:
        """A word for all that the rows of a picture depend on but the picture."""
        elsewhere = ("root", "paths", "output_dir", "network", "device", "batch_size", "copies", "workers", "resume")
        mine = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in elsewhere}
        weights = stamp_of(Path(self.weights)) if self.weights else None
        text = json.dumps([__version__, self.network.name, weights, mine], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def explain_folder(job: Job, ranks: Ranks) -> list[Row]:
    """Do what is left of a job and write the tables; on Ctrl-C, those of what is done.

    Returns:
        the rows of all processes in the first of them, in the others nothing

    Raises:
        TypeError, ValueError, IndexError, RuntimeError: if the first picture that can be read cannot be explained.
        OSError: if the records or the tables cannot be written.
    """
    cams = [METHODS[name](job.network.model.to(job.device), job.layers, batch_size=job.copies) for name in job.methods]
    left = ranks.from_first(lambda: _prepare(job, cams))
    try:
        if left:
            if ranks.rank > 0:
                _try_the_first(job, cams)
            _explain(job, cams, left[ranks.rank :: ranks.count], ranks)
        ranks.wait()
    except KeyboardInterrupt:
        if ranks.rank == 0:
            _write(job)
        raise
    return _write(job) if ranks.rank == 0 else []


def _prepare(job: Job, cams: Sequence[BaseCAM]) -> list[list[int]]:
    """Clear away what an earlier run left and does not count; the positions of the pictures to do, batch by batch.

    The bounds of the batches do not depend on what is done: a map may, in its last bits, depend on its batch.
    """
    done = _complete(job) if job.resume else {}
    left = [at for at, path in enumerate(job.paths) if path not in done]
    if left:
        _try_the_first(job, cams)  # where this fails nothing has been touched
    rewrite(job.output_dir, list(done.values()))
    remove_unfinished(job.output_dir)
    remove_tables(job.output_dir)
    batches: dict[int, list[int]] = {}
    for at in left:
        batches.setdefault(at // job.batch_size, []).append(at)
    return list(batches.values())


def _complete(job: Job) -> dict[str, Record]:
    """The records of pictures that have not changed since, whose files are there and that did not fail."""
    settings, wanted = job.settings, {plain(path): path for path in job.paths}
    complete = {}
    for record in read_records(job.output_dir):
        path, rows = wanted.get(record["path"]), record["rows"]
        if path is None or record["settings"] != settings or any(row["error"] for row in rows):
            continue
        stamp = stamp_of(job.root / path)
        files = [row[kind] for row in rows for kind in ("overlay", "maps") if row[kind]]
        if stamp and list(stamp) == record["stamp"] and all(map(_is_whole, (job.output_dir / file for file in files))):
            complete[path] = record
    return complete


def _is_whole(path: Path) -> bool:
    stamp = stamp_of(path)
    return stamp is not None and stamp[0] > 0


def _try_the_first(job: Job, cams: Sequence[BaseCAM]) -> None:
    """Explain the first picture that can be read; where no layer is given, it is chosen there in all processes."""
    files = PictureFiles(job.root, job.paths, job.network.preset, whole=False)
    first = next((inputs for inputs, _ in map(files.__getitem__, range(len(files))) if inputs is not None), None)
    if first is not None:
        explain_batch(cams, first[None], _targets(job, 1), job.aug_smooth, job.eigen_smooth)


def _targets(job: Job, count: int) -> Any:
    return (lambda _: [list(job.classes)] * count) if job.classes else None


def _explain(job: Job, cams: Sequence[BaseCAM], batches: Sequence[Sequence[int]], ranks: Ranks) -> None:
    journal, settings = Journal(job.output_dir, ranks.rank), job.settings
    paths = [job.paths[at] for batch in batches for at in batch]
    files = PictureFiles(job.root, job.paths, job.network.preset, job.whole_picture)
    loader: DataLoader[Any] = DataLoader(
        files,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=min(job.workers, len(batches)),
        worker_init_fn=leave_interrupts_to_the_main_process,
    )
    writing: deque[tuple[list[Future[list[Row]]], list[Picture]]] = deque()

    def record_one_batch() -> None:
        futures, pictures = writing.popleft()
        rows = [future.result() for future in futures]
        journal.append(
            [
                {"path": plain(picture.path), "settings": settings, "stamp": picture.stamp, "rows": of}
                for picture, of in zip(pictures, rows, strict=True)
            ]
        )
        advance(len(pictures))

    first_only = None if ranks.rank == 0 else False
    with (
        progress_bar(", ".join(job.methods), len(paths), " images", first_only, leave=True) as advance,
        ThreadPoolExecutor(_ENCODERS) as encoders,
    ):
        try:
            for batch in loader:
                jobs = _explain_batch(job, cams, batch)
                pictures = [picture for picture, *_ in jobs]
                writing.append(([encoders.submit(_write_picture, job, *one) for one in jobs], pictures))
                if len(writing) > 1:
                    record_one_batch()
        finally:
            while writing:  # also what was explained before Ctrl-C
                record_one_batch()


_Explained = tuple[Picture, Tensor | None, "list[tuple[str, str, ImageResult]]"]
"""A picture, its input, and of each method the name, the layer and the result; without input it failed."""


def _explain_batch(job: Job, cams: Sequence[BaseCAM], batch: Batch) -> list[_Explained]:
    inputs, pictures, broken = batch
    explained: list[_Explained] = [(picture, None, []) for picture in broken]
    if inputs is None:
        return explained
    try:
        return explained + list(_results(job, cams, inputs, pictures))
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        if len(pictures) == 1:
            failed = f"cannot be explained: {type(error).__name__}: {error}"
            return [*explained, (Picture(pictures[0].path, pictures[0].stamp, error=failed), None, [])]
    # One picture, or too many of them at once: the others shall not suffer.
    for one, picture in zip(inputs.split(1), pictures, strict=True):
        explained += _explain_batch(job, cams, (one, [picture], []))
    return explained


def _results(job: Job, cams: Sequence[BaseCAM], inputs: Tensor, pictures: Sequence[Picture]) -> Iterator[_Explained]:
    results = explain_batch(cams, inputs, _targets(job, len(pictures)), job.aug_smooth, job.eigen_smooth)
    layers = [", ".join(layer_name(job.network.model, layer) for layer in cam.target_layers or ()) for cam in cams]
    for image, picture in enumerate(pictures):
        of_methods = results[image * len(cams) : (image + 1) * len(cams)]
        yield picture, inputs[image : image + 1], list(zip(job.methods, layers, of_methods, strict=True))


def _write_picture(
    job: Job, picture: Picture, inputs: Tensor | None, of_methods: Sequence[tuple[str, str, ImageResult]]
) -> list[Row]:
    """The rows of a picture, whose files are all written, or none."""
    if inputs is None:
        return [failed_row(picture.path, picture.error or "no input")]
    files: dict[Path, bytes] = {}
    rows = []
    whole = None if picture.pixels is None else picture.pixels.numpy()
    seen = job.network.preset.crop_box(picture.size)
    try:
        for method, layer, result in of_methods:
            classes = result.classes or ()
            stems = file_stems(method, job.network, classes)
            for at, (stem, index) in enumerate(zip(stems, classes, strict=True)):
                heat, score = result.maps[at], (result.scores or ())[at]
                if not math.isfinite(score):
                    return [
                        failed_row(picture.path, f"its score is {score}: {result.warnings[at] or 'check the weights'}")
                    ]
                # The name of the picture stays whole: a.png and a.jpg are two.
                name = f"{plain(picture.path)}.{stem}"
                pixels = overlay(torch.from_numpy(heat), inputs, job.network.preset, whole)
                files[job.output_dir / f"{name}.jpg"] = encode_jpeg(pixels)
                if job.save_maps:
                    buffer = io.BytesIO()
                    np.savez(buffer, map=heat, seen=seen)
                    files[job.output_dir / f"{name}.npz"] = buffer.getvalue()
                rows.append(
                    Row(
                        {
                            "path": plain(picture.path),
                            "class": job.network.classes[index],
                            "index": index,
                            "score": float(f"{score:.6g}"),
                            "method": method,
                            "layer": layer,
                            "box": _box_in_picture(result.boxes[at], heat.shape, seen),
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
    # More pixels than a JPEG can hold, too long a name, a folder in the place of a file, a full disk.
    except (ValueError, OSError) as error:
        return [failed_row(picture.path, f"cannot write its overlay: {error}")]
    return rows


def _box_in_picture(box: Any, size: tuple[int, ...], seen: tuple[int, int, int, int]) -> list[int] | None:
    """A box in the input of a network, of size (H, W), in pixels of the picture, of which it saw a part."""
    if not box.any():
        return None
    left, top, right, bottom = seen
    scale = [(right - left) / size[1], (bottom - top) / size[0]] * 2
    edges = [round(start + side * by, 6) for start, side, by in zip((left, top) * 2, box.tolist(), scale, strict=True)]
    return [*map(math.floor, edges[:2]), *map(math.ceil, edges[2:])]


def _write(job: Job) -> list[Row]:
    """The tables of all that is recorded."""
    wanted = {plain(path) for path in job.paths}
    rows = {record["path"]: record["rows"] for record in read_records(job.output_dir) if record["path"] in wanted}
    table: list[Row] = [row for path in sorted(rows) for row in rows[path]]
    write_tables(job.output_dir, table)
    return table
