"""The parts of `gpu_check.py`: each checks one thing on a device, and yields what it found."""
