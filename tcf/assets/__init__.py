"""Named datasets and models: where they are published, downloaded, verified and kept."""
