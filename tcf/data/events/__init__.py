"""Events collected block by block, encoded, and sorted into histories."""
