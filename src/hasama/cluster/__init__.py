"""The file that hands a command to a cluster: a batch script for SLURM, YAML for Kubernetes, Azure ML and SkyPilot.

Its face: `engines.job_file`, `options.JobOptions`. Nothing here talks to a cluster, and nothing imports torch but
`standing.main`, which scripts ask on the cluster whether a run is done.
"""
