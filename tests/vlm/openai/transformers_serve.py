"""``transformers serve`` where torchvision's own decoder is not built for the installed torch: Pillow decodes."""

import io
from typing import Any

import numpy as np
import torch
import torchvision.io
from PIL import Image
from transformers.cli.transformers import main


def decode_image(encoded: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """RGB levels of an encoded image, uint8 [3, height, width]."""
    picture = Image.open(io.BytesIO(encoded.numpy().tobytes())).convert("RGB")
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


torchvision.io.decode_image = decode_image

if __name__ == "__main__":
    main()
