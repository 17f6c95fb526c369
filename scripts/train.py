"""Train a bundle from the posts in data/posts. The same as `narratives train`, which does the work.

    python scripts/train.py

writes models/kazakhstan-e5-small; `--help` lists the settings. The exact command of the shipped bundle, its seed and its time stand in
its card, models/kazakhstan-e5-small/README.md: without that command's `--background` and `--epochs` this trains another bundle.
"""

import sys

from narratives.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
