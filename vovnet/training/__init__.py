"""Learning: the policy head from outcomes, and the packaged tiny backbone from scratch."""
