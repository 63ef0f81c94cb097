"""Recommender models: item towers, SASRec, DSSM, and their construction."""
