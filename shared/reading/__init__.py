"""People's files, read in child processes: a file that ends its reader ends nothing else."""
