"""Names of files, which commands that run no policy read without loading what reads the files."""

FILE_NAME = "policy.safetensors"  # in the folder of a training
