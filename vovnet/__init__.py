"""VoVNet: how closely should a vision-language model look at the image?"""
