"""What the units of a study are predicted to take: time, memory and disk, stage by stage."""
