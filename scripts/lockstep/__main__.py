"""Commands beside the workflow: python -m lockstep COMMAND."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from lockstep import media
from lockstep.errors import LockstepError
from lockstep.verify import verify


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lockstep", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    own = commands.add_parser(
        "verify",
        help="read and hash the files of a folder of results",
        description="Read and hash the files of a folder of results, and name those that are not "
        "what was written.",
    )
    own.add_argument("results", nargs="?", type=Path, default=Path("results"))
    commands.add_parser("train", help="train the miniature", add_help=False)
    arguments, rest = parser.parse_known_args()
    # a terminal may know ASCII alone
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if arguments.command == "train":
            # it takes its own arguments, and torch
            from lockstep.demo import train

            sys.exit(train.main(rest))
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        sys.exit(_verify(arguments.results))
    except LockstepError as error:
        sys.exit(media.entry(f"Error: {error}"))


def _verify(results: Path) -> int:
    count = faults = 0
    for fault in tqdm(verify(results), desc="verify", unit=" files", disable=None):
        count += 1
        if fault is not None:
            faults += 1
            tqdm.write(media.entry(f"{fault.path}: {fault.what}"))
    print(f"{count} files looked at, {faults} of them not what was written")
    if faults:
        print("delete these files and run the workflow again: it makes them anew")
    return int(faults > 0)


if __name__ == "__main__":
    main()
