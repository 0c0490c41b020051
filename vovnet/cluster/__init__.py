"""Jobs of a sweep in processes of their own: on this machine, or in Slurm through submitit.

Hydra's own launcher composes each job and makes its folder; the typed configuration is left there and a
process that knows no Hydra picks it up. (A launcher plugin would be refused by Hydra outside of a package
``hydra_plugins``, and would have to repeat what the basic launcher does.)
"""
