"""The program `assay`, also started as `python -m assay`: Ctrl-C ends it with one line even during imports."""

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from assay.cli.main import main as run_command  # noqa: PLC0415 (its imports take a while)

        run_command()
    except KeyboardInterrupt:
        sys.stderr.write("assay: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
