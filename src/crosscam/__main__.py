"""``python -m crosscam``, for example ``torchrun -m crosscam train ...``."""

from __future__ import annotations

from crosscam.cli.main import main

if __name__ == "__main__":
    main()
