"""What lmms-eval 0.7 reads from the entry-point group ``lmms_eval.models``: the model ``vovnet`` and its class.

Apart from the class: lmms-eval loads every entry point on import, whatever model is asked for.
"""

from lmms_eval.models.registry_v2 import ModelManifest

MANIFEST = ModelManifest(model_id="vovnet", simple_class_path="vovnet.api.lmms_model.RoutedModel")
