"""What comes from outside: names in archives, texts to print, pointers in the place of files."""
