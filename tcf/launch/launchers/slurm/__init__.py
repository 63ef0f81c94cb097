"""Units as jobs of Slurm: submitted in arrays, packed when they are short, watched through records and `squeue`."""
