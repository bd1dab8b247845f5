"""What every other package uses: errors, command lines, files, remote storage, progress, processes, ranks.

Read errors and cli first; the rest when you meet it.
"""
