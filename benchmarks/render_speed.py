"""How many images a second one process draws and writes: ``python benchmarks/render_speed.py``.

Expected: at least 300 images/s a core. Rounds are timed in processor seconds, so that other work on the machine
counts less; the scenes, noise and occluders that each process draws once are part of the first round alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from crosscam.data.synthetic.dataset import render_dataset


def main() -> None:
    """Time a few rounds and print each, and the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    best = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            wall, processor = time.perf_counter(), time.process_time()
            done = render_dataset(
                Path(folder) / str(number), ids=arguments.ids, cameras=5, images=4, collide=0.5, seed=0, processes=1
            )
            processor, wall = time.process_time() - processor, time.perf_counter() - wall
            images = done.train + done.query + done.gallery
            best = max(best, images / processor)
            print(
                f"round {number + 1}: {images} images, {images / processor:.0f} a processor second, "
                f"{images / wall:.0f} a second"
            )
    print(f"best: {best:.0f} images a processor second (expected: at least 300)")


if __name__ == "__main__":
    main()
