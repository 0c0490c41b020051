"""Random compositions of the options, each run and its results checked; outside of the suite."""
