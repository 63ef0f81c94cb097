"""Rankings without a model, for a model to beat; they learn from training interactions only.

Popularity and co-occurrence give most items of most users the same score, or 0, so they count ranks and fill lists
without scoring every item for every user.
"""
