"""The server: a durable queue of jobs, the processes that work on it, the Videos API, and the studio.

Nothing here loads a model but `worker.py`, which runs in processes of its own.
"""
