"""`python -m lockstep train` trains the miniature."""

import sys

from lockstep.errors import ConfigError

COMMANDS = ("train",)


def main() -> None:
    """Run a command."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        found = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        raise SystemExit(f"python -m lockstep: expected one of {COMMANDS}, found {found!r}")
    from lockstep.demo import train

    try:
        train.main(sys.argv[2:])
    except ConfigError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
