"""Train the bundle the project ships, from the posts in data/posts. The same as `narratives train`, which does the work.

    python scripts/train.py

takes a quarter to half an hour on two cores and writes models/kazakhstan-e5-small; `--help` lists the settings.
"""

import sys

from narratives.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
