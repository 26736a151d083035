"""Where bytes enter and leave the process: standard input, standard output, files, TCP."""
