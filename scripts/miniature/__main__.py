"""Train the miniature: `python -m miniature`, on one GPU, in pieces."""

import argparse
import multiprocessing
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Make rows, train the editor or the judge for a piece of its time, or write their folders.

    `checkpoints` trains a LoRA on the early editor, on a CPU in minutes, and keeps some of it.
    """
    parser = argparse.ArgumentParser(prog="python -m miniature", description=__doc__)
    kinds = ("tokenizer", "rows", "editor", "judge", "export", "checkpoints")
    parser.add_argument("what", choices=kinds)
    parser.add_argument(
        "folder", type=Path, help="rows, and what the next piece needs; models, of checkpoints"
    )
    parser.add_argument("--out", type=Path, help="weights and logs; the folder itself by default")
    parser.add_argument("--to", type=Path, help="where export writes the models' folders")
    parser.add_argument("--total", type=float, default=1100, help="seconds of all pieces")
    parser.add_argument("--piece", type=float, default=480, help="seconds of this piece")
    parser.add_argument("--autoencoder", type=float, default=80, help="seconds, before the editor")
    parser.add_argument("--rate", type=float, default=1.0, help="of learning, judge only")
    parser.add_argument("--size", type=int, default=256, help="rows of a step")
    parser.add_argument("--parts", type=int, default=64, help="files of rows")
    parser.add_argument("--rows", type=int, default=8000, help="rows of a file")
    parser.add_argument("--count", type=int, default=10, help="checkpoints")
    parser.add_argument("--steps", type=int, default=120, help="of a training with checkpoints")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args(arguments)
    out = given.out or given.folder
    if given.what == "tokenizer":
        from miniature import models

        models.make_tokenizer().save_pretrained(given.folder / "tokenizer")
    elif given.what == "rows":
        from miniature import rows

        rows.write(given.folder, multiprocessing.cpu_count(), given.parts, given.rows)
    elif given.what == "export":
        from miniature import export

        if given.to is None:
            parser.error("export: expected --to FOLDER, found none")
        checkpoints = {"final": "editor"}
        checkpoints |= {
            path.stem.removeprefix("editor-"): path.stem for path in out.glob("editor-*")
        }
        export.export(out, given.folder / "tokenizer", given.to, checkpoints)
    elif given.what == "checkpoints":
        from miniature.checkpoints import train_checkpoints

        shared = {"size": given.size, "device": given.device}
        train_checkpoints(given.folder, out, count=given.count, steps=given.steps, **shared)
    else:
        names = ("total", "piece", "size", "device")
        shared = {name: value for name, value in vars(given).items() if name in names}
        if given.what == "editor":
            from miniature.editor_training import train_editor

            train_editor(given.folder, out, autoencoder=given.autoencoder, **shared)
        else:
            from miniature.judge_training import train_judge

            train_judge(given.folder, out, rate=given.rate, **shared)


if __name__ == "__main__":
    main(sys.argv[1:])
