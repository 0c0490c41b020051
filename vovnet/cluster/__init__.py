"""Jobs of a sweep in processes of their own: on this machine, or in Slurm through submitit.

The sweeper composes each job and makes its folder; the typed configuration is left there and a process that knows no
Hydra picks it up.
"""
