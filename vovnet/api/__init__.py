"""VoVNet from Python; ``import vovnet`` offers these names."""
