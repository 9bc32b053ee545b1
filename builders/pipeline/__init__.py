"""A recipe's stages over a work folder: run, skip what is done, go on after a kill, in a process pool or on Ray."""
