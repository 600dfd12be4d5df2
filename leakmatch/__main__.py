"""``python -m leakmatch``."""

from leakmatch.cli.app import main

if __name__ == "__main__":
    main()
