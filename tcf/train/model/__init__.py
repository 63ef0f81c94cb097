"""Recommender models: item towers, SASRec, DSSM, and how they are built."""
