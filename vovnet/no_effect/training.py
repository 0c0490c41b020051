"""Keys of a training that may have no effect."""

from vovnet.no_effect.rule import (
    DECIDE,
    EVALUATE,
    FALLBACK,
    FILES,
    LOGGED,
    TRAIN,
    Rule,
    has_baseline,
    is_live,
    learns_value,
    off_slurm,
    others,
    replays_here,
    stages,
    trains_backbone,
    trains_lora,
)

SOFT = "policy.objective.temperature policy.objective.entropy_weight policy.objective.loss"
MICRO = "training.backbone.batch_size training.backbone.micro_batch_size training.backbone.precision"

TRAINING = (
    # What the objective reads.
    Rule("policy.use_straight_through", (*TRAIN, *DECIDE), "policy/objective=value draws no samples", learns_value),
    Rule(SOFT, TRAIN, "policy/objective=value has no soft weights", learns_value),
    Rule(SOFT, DECIDE, "only experiments.train reads it"),
    Rule(
        "policy.lambda_cost",
        TRAIN,
        "policy/objective=value trains the same policy for every lambda; only its validation figures change",
        learns_value,
        sweeps_only=True,
    ),
    Rule(
        "policy.cost_unit",
        TRAIN,
        "policy/objective=value trains the same policy for every unit; only its validation figures change",
        lambda c: learns_value(c) and c.policy.procedure == "one_step",
        sweeps_only=True,
    ),
    Rule("policy.interpolate", TRAIN, "values between looks are interpolated in evaluations only"),
    Rule(
        "training.lambda_warmup_fraction",
        TRAIN,
        "policy/objective=value trains the same policy for every lambda",
        learns_value,
    ),
    # Both stages of a training.
    Rule(
        "training.stage1_baseline_name training.stage1_backbone",
        TRAIN,
        "training.stage1_epochs=0 leaves stage 1 out",
        stages(lambda training: training.stage1_epochs == 0),
    ),
    Rule(
        "training.backbone.gradient_checkpointing",
        TRAIN,
        "training.stage1_epochs=0 leaves stage 1 out",
        stages(lambda training: training.stage1_epochs == 0),
    ),
    Rule(
        "training.backbone",
        TRAIN,
        "the backbone is not trained (training.stage1_epochs=0, stage2_backbone=frozen)",
        stages(lambda training: not trains_backbone(training)),
        but=MICRO,
    ),
    Rule(
        MICRO,
        TRAIN,
        "the policy is trained from stored outcomes (training.stage1_epochs=0, stage2_backbone=frozen, live=false)",
        stages(lambda training: not trains_backbone(training) and not training.live),
    ),
    Rule(
        "training.backbone.lora",
        TRAIN,
        "all weights are trained, not LoRA's",
        stages(lambda training: not trains_lora(training)),
    ),
    Rule(
        "training.batch_size",
        TRAIN,
        "a live stage 2 reads training.backbone.batch_size",
        stages(is_live),
    ),
    Rule(
        "training.live",
        TRAIN,
        "a backbone that is trained along is always live",
        stages(lambda training: training.stage2_backbone != "frozen"),
    ),
    Rule(
        "logger.project logger.entity logger.offline",
        ("train", *LOGGED),
        "only logger=wandb reads it",
        lambda c: c.logger.name != "wandb",
    ),
    Rule("logger", others("train", *LOGGED), "it leaves neither metrics nor results to log"),
    Rule("trainer", EVALUATE, "only trainings and eval.mode=live run on its devices", replays_here),
    Rule(
        "trainer",
        others("train", *EVALUATE),
        "only trainings and eval.mode=live run on its devices; launcher=local shares a collection out",
        off_slurm,
    ),
    # What else a training does without.
    Rule("policy.baseline", TRAIN, "experiments.train trains VoVNet itself", has_baseline),
    Rule(FALLBACK, TRAIN, "a fallback is applied when a policy is evaluated"),
    Rule(f"eval.mode eval.split eval.max_samples {FILES}", TRAIN, "only evaluations read it"),
)
