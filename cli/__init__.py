"""The command `upgradepath`: everything that people ask of the services, over HTTP and nothing else.

reads: the services' HTTP doors, a package's or a Project's folder, the dev world's file
writes: commands over HTTP; the terminal
owns: nothing
"""
