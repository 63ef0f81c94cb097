"""Launchers: where units run, in worker processes of this machine or in jobs of Slurm."""
