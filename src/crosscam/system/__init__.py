"""What differs from one operating system to the next: cores, locks, and files that are whole or not there."""
