"""What happens to each sample under each action: collected once, stored, replayed."""
