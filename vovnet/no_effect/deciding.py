"""Keys that may have no effect where a policy or baseline decides, and in commands that do something else."""

from vovnet.no_effect.rule import (
    ANY,
    COLLECT,
    DECIDE,
    EVALUATE,
    FALLBACK,
    FILES,
    READ,
    TRAIN,
    Rule,
    answers,
    follows_space,
    has_baseline,
    has_file,
    ignores_lambda,
    is_imported,
    is_vovnet,
    moves_rows,
    of,
    others,
    scores_mmmu,
)

HEAD = "policy.feature_mode policy.hidden_size policy.use_straight_through policy.objective policy.interpolate"
RANDOM = "random_policy_matched"
PRUNED = "policy.full_pruning_ratio policy.full_pruning_mode"

DECIDING = (
    # What a baseline reads in VoVNet's place.
    Rule("policy.lambda_cost", DECIDE, "of all baselines only oracle with rule=utility reads lambda", ignores_lambda),
    Rule("policy.lambda_cost", ("calibrate",), "experiments.calibrate is what finds lambda"),
    Rule(HEAD, DECIDE, "policy/baseline decides and has no head", has_baseline),
    Rule(
        "policy.action_space policy.looks",
        ("eval",),  # a profile times the menu's looks, too
        "policy/baseline has actions of its own",
        lambda c: has_baseline(c) and not follows_space(c),
    ),
    Rule(FILES, DECIDE, "policy/baseline decides and reads no policy file", has_baseline),
    Rule(
        "policy.baseline.match_lambda policy.baseline.buckets",
        (*DECIDE, *COLLECT, "match"),
        "it is read only with policy.baseline.match",
        of(RANDOM, lambda random: random.match is None),
    ),
    Rule(
        "policy.baseline.bucket_thresholds",
        (*DECIDE, *COLLECT, "match"),
        "there are no buckets without bucket_ratios, or buckets=true and match",
        of(RANDOM, lambda random: random.bucket_ratios is None and not (random.buckets and random.match)),
    ),
    # What a look is.
    Rule(
        "policy.full_pruning_mode",
        ANY,
        "policy.full_pruning_ratio=1 keeps every token",
        lambda c: c.policy.full_pruning_ratio == 1,
        end_of="policy.full_pruning_ratio",
    ),
    Rule(
        "policy.baseline.pruning_mode",
        (*DECIDE, *COLLECT),
        "policy.baseline.pruning_ratio=1 keeps every token",
        of("vision_token_pruning_proxy", lambda pruning: pruning.pruning_ratio == 1),
        end_of="policy.baseline.pruning_ratio",
    ),
    Rule(
        PRUNED,
        (*DECIDE, *COLLECT),
        "this baseline defines FULL itself",
        lambda c: c.policy.baseline.full is not None,
    ),
    Rule(PRUNED, ("eval", *COLLECT), "FULL is never chosen", lambda c: "full" not in answers(c)),
    Rule("vision_budget.coarse", ("eval", *COLLECT), "COARSE is never chosen", lambda c: "coarse" not in answers(c)),
    Rule(
        "vision_budget backbone.prompt_order eval.cache_reuse",
        ("eval", *COLLECT),
        "no image is looked at",
        lambda c: answers(c) == {"no"},
    ),
    Rule(
        "eval.cache_reuse",
        ANY,
        "only backbone.prompt_order=text_first can continue the text pass; set backbone.prompt_order=text_first and "
        "train the policy with it",
        lambda c: c.backbone.prompt_order != "text_first",
    ),
    # How answers are made and counted.
    Rule("eval.temperature", ANY, "only eval.do_sample=true reads it", lambda c: not c.eval.do_sample),
    Rule(
        "eval.seed",
        EVALUATE,
        "nothing is drawn without eval.do_sample, or eval.random_fallback on MMMU",
        lambda c: not (c.eval.do_sample or (c.eval.random_fallback and scores_mmmu(c.dataset))),
    ),
    Rule(
        "eval.seed",
        (*TRAIN, *COLLECT, "profile", "calibrate"),
        "nothing is drawn without eval.do_sample",
        lambda c: not c.eval.do_sample,
    ),
    Rule("eval.random_fallback", EVALUATE, "only MMMU's evaluator draws", lambda c: not scores_mmmu(c.dataset)),
    Rule("eval.random_fallback", (*TRAIN, *COLLECT, "profile", "calibrate"), "only an evaluation draws"),
    # Which questions.
    Rule("eval.mode", ("profile", *COLLECT), "only experiments.eval reads it"),
    Rule("eval.mode eval.split eval.max_samples", ("calibrate",), "held-out questions of the train split are taken"),
    Rule("leaks", ("profile",), "experiments.profile does not run the leak guard"),
    Rule("eval.batch_size", ("profile",), "profile.batch_size says how many are timed together"),
    Rule("eval.chunk_rows", ("eval",), "live runs collect nothing", lambda c: c.eval.mode == "live"),
    Rule("eval.num_workers eval.chunk_rows eval.batch_tokens", ("profile",), "a profile collects nothing"),
    Rule("eval.num_shards eval.shard", ("profile",), "only experiments.collect has parts"),
    Rule(
        "eval.num_shards eval.shard", ("eval",), "only experiments.collect has parts", lambda c: c.eval.mode == "live"
    ),
    Rule(
        "eval.num_shards",
        COLLECT,
        "one job collects all chunks unless eval.shard, -m or a launcher is given",
        lambda c: c.eval.shard is None,
    ),
    Rule("dataset.hub", (*ANY, "prepare"), "dataset.path names the files", lambda c: c.dataset.path is not None),
    # Which policy.
    Rule(
        "training",
        ("eval", "error_slices", "profile"),
        "only experiments.train reads it",
        but="training.seed",
    ),
    Rule("training", ("oracle", *COLLECT), "only experiments.train reads it"),
    Rule(
        "training",
        ("calibrate",),
        "only experiments.train reads it",
        but="training.seed training.max_samples training.val_fraction",
    ),
    Rule("training.seed", DECIDE, "policy/baseline decides and was not trained", has_baseline),
    Rule("training.seed", ("eval", "error_slices", "profile"), "the policy is named and not searched for", has_file),
    Rule(f"{HEAD} policy.lambda_cost {FILES} leaks", COLLECT, "a collection decides nothing"),
    Rule(FALLBACK, COLLECT, "VoVNet's branches are its action space's", is_vovnet),
    Rule(  # not what a baseline's branches follow from, nor the target without which the random one is refused
        "policy.baseline.seed policy.baseline.threshold policy.baseline.uncertainty policy.baseline.rule",
        COLLECT,
        "a collection decides nothing",
    ),
    # Which backbone.
    Rule(
        "backbone.name backbone.packaged backbone.revision",
        ANY,
        "backbone.path names the files",
        lambda c: c.backbone.path is not None and not is_imported(c),
    ),
    Rule(
        "vision_budget eval.max_new_tokens eval.num_beams eval.do_sample eval.temperature eval.batch_size "
        "eval.batch_tokens "
        "eval.cache_reuse backbone.prompt_order backbone.dtype backbone.chat_template backbone.implementation",
        ANY,
        "the rows are imported, and as their engine made them",
        is_imported,
    ),
    Rule("backbone.revision", ANY, "this backbone is not from the hub", lambda c: c.backbone.packaged),
    Rule(
        "backbone.cuda_graphs",
        ANY,
        "graphs are for greedy decoding on a GPU without attn_implementation=eager",
        lambda c: (
            c.backbone.device == "cpu"
            or c.backbone.attn_implementation == "eager"
            or c.eval.do_sample
            or c.eval.num_beams > 1
        ),
    ),
    # Commands that do something else.
    *(
        Rule(section, others(section), f"only experiments.{section} reads it")
        for section in ("store", "prepare", "profile", "calibrate")
    ),
    Rule("report runs", others("report"), "only experiments.report reads it"),
    Rule("pipeline", others(), "only experiments.pipeline reads it"),
    Rule(
        "backbone policy vision_budget dataset eval training leaks",
        READ,
        "this command reads finished work",
        lambda c: not moves_rows(c),
    ),
    Rule("backbone policy vision_budget eval training", ("prepare",), "experiments.prepare reads data sets only"),
    Rule(
        "backbone vision_budget eval training leaks policy",
        ("match",),
        "experiments.match reads a finished run",
        but="eval.split policy.baseline policy.full_pruning_ratio policy.full_pruning_mode",
    ),
    Rule("policy.baseline.seed", ("match",), "the seed is of the draw, which is experiments.eval's"),
)
