"""VoVNet from a notebook; each cell begins with # %%."""

# %% What every look yields; the store keeps it, so that a second call computes nothing.
import vovnet

vlm = vovnet.load_vlm("tiny")
data = vovnet.load_dataset("easy_vqa")
out = vovnet.collect(vlm, data, max_samples=600)
print("accuracy of NO, COARSE and FULL:", out.test.scores.mean(axis=0).round(3))

# %% One policy for every lambda, beside fixed ones.
policy = vovnet.train_policy(out.train)
curve = vovnet.frontier(policy, out.test, lambdas=[0, 0.02, 0.05, 0.1])
curve.plot("frontier.png")
print(curve.to_pandas()[["policy", "lambda_cost", "accuracy", "avg_cost"]])

# %% A baseline with an option of its own, per question.
cascade = vovnet.evaluate("cascade", out.test, threshold=0.8)
print("the cascade looks twice at", int((cascade.routed.looks == 2).sum()), "questions")

# %% The policy at work.
router = vovnet.Router(vlm, policy, data, max_new_tokens=8)
sample = out.test.dataset[0]
reply = router(sample.question, sample.images[0].path)
print(sample.question, "->", reply.answer, f"({reply.look}, {reply.vision_tokens} vision tokens)")
