"""The packaged tiny backbone, made from random weights."""
