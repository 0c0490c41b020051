"""Lightning's chatter about absent accelerators and its own products is kept off the terminal."""

import logging
import warnings


def quiet_lightning() -> None:
    """Show Lightning's warnings only; drop the ones that are about Lightning's own code."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    # A run that goes on finds its own files.
    warnings.filterwarnings("ignore", message=r".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=r".*gradient_checkpointing_enable.*")
    warnings.filterwarnings("ignore", message=r".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*`srun` command is available.*")
    warnings.filterwarnings("ignore", message=r".*module\(s\) in eval mode.*")  # frozen parts are, on purpose
