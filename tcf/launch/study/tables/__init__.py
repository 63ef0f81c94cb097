"""What a study file says, read table by table."""
