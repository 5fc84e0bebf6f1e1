"""``python -m crosscam``, for example ``torchrun -m crosscam train ...``."""

from crosscam.cli.main import main

if __name__ == "__main__":
    main()
