"""The parts of `make gpu-check`: each runs in a process of its own, and prints what it finds as it goes."""
