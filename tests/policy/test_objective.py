"""What the objectives teach."""

from dataclasses import replace

import pytest
import torch

from vovnet.policy.head import PolicyHead
from vovnet.policy.objective import OutcomeBatch, mixture_loss, value_loss


def batch(size: int = 400) -> OutcomeBatch:
    """Two kinds of question: the first is right under every action, the second under FULL only."""
    torch.manual_seed(0)
    kind = torch.arange(size) % 2
    features = torch.stack([kind.float(), torch.randn(size)], dim=1)
    score = torch.ones(size, 3)
    score[kind == 1, :2] = (torch.rand(int((kind == 1).sum()), 2) < 0.25).float()
    cost = torch.tensor([0.0, 0.1, 1.0]).expand(size, 3)
    return OutcomeBatch(features=features, score=score, nll=2.0 * (1 - score), cost=cost)


def train(head: PolicyHead, loss, steps: int = 300) -> None:
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def test_value_predicts_the_expected_score() -> None:
    data, head = batch(), PolicyHead(2, 16, 3, bounded=True)
    head.standardise(data.features)
    train(head, lambda: value_loss(head, data))
    predicted = head(data.features)
    for kind in (0, 1):
        rows = data.features[:, 0] == kind
        torch.testing.assert_close(predicted[rows].mean(0), data.score[rows].mean(0), atol=0.05, rtol=0)


@pytest.mark.parametrize("straight_through", [True, False])
@pytest.mark.parametrize("loss", ["nll", "error"])
def test_mixture_learns_to_look_where_looking_helps(straight_through: bool, loss: str) -> None:
    data, head = batch(), PolicyHead(2, 16, 3, bounded=False)
    head.standardise(data.features)
    torch.manual_seed(1)
    train(head, lambda: mixture_loss(head, data, 0.2, 0.5, straight_through, loss))
    chosen = (head(data.features) - 0.2 * data.cost).argmax(1)
    assert (chosen[data.features[:, 0] == 0] == 0).float().mean() > 0.95
    assert (chosen[data.features[:, 0] == 1] == 2).float().mean() > 0.95


@pytest.mark.parametrize("straight_through", [True, False])
def test_the_task_loss_reaches_the_policy(straight_through: bool) -> None:
    """Without the cost term there is still a gradient; in the earlier implementation there was none."""
    data, head = batch(8), PolicyHead(2, 16, 3, bounded=False)
    torch.manual_seed(0)
    mixture_loss(head, data, 0.0, 1.0, straight_through, "nll").backward()
    assert head.output.weight.grad is not None
    assert float(head.output.weight.grad.abs().sum()) > 0


def test_soft_mixture_is_the_expected_loss() -> None:
    data, head = batch(6), PolicyHead(2, 4, 3, bounded=False)
    head.output.weight.data.normal_()
    weights = torch.softmax((head(data.features) - 0.3 * data.cost) / 0.7, dim=-1)
    expected = (weights * (data.nll + 0.3 * data.cost)).sum(1).mean()
    torch.testing.assert_close(mixture_loss(head, data, 0.3, 0.7, False, "nll"), expected)


def test_an_untrained_head_prefers_nothing() -> None:
    for bounded in (True, False):
        values = PolicyHead(3, 8, 3, bounded)(torch.randn(5, 3))
        assert (values == values[:, :1]).all()


def test_with_entropy_the_values_are_minus_the_expected_loss_and_answer_to_any_lambda() -> None:
    """Trained at one lambda; the cheapest action is the base that the values are relative to."""
    data, head = batch(), PolicyHead(2, 16, 3, bounded=False)
    head.standardise(data.features)
    train(head, lambda: mixture_loss(head, data, 0.2, 0.7, False, "error", entropy_weight=1.0), steps=600)
    values = head(data.features)
    for kind in (0, 1):
        rows = data.features[:, 0] == kind
        gain = data.score[rows].mean(0) - data.score[rows].mean(0)[0]
        torch.testing.assert_close((values - values[:, :1])[rows].mean(0), gain, atol=0.05, rtol=0)
    needs = data.features[:, 0] == 1
    rates = [((values - price * data.cost).argmax(1)[needs] == 2).float().mean() for price in (0.0, 0.2, 1.5)]
    assert rates[0] > 0.95
    assert rates[1] > 0.95
    assert rates[2] < 0.05


def test_straight_through_is_one_hot_forward_and_soft_backward() -> None:
    """The loss is that of the action which value, cost and noise choose; its gradient is the soft mixture's."""
    data, head = batch(6), PolicyHead(2, 4, 3, bounded=False)
    head.output.weight.data.normal_()
    data = replace(data, noise=torch.randn(6, 3))
    logits = (head(data.features) - 0.3 * data.cost + data.noise) / 0.7
    losses = 1 - data.score + 0.3 * data.cost
    rows = torch.arange(6)
    found = mixture_loss(head, data, 0.3, 0.7, True, "error")
    torch.testing.assert_close(found, losses[rows, logits.argmax(1)].mean())
    soft = (torch.softmax(logits, dim=1) * losses).sum(1).mean()
    mine, expected = (torch.autograd.grad(one, head.output.weight, retain_graph=True)[0] for one in (found, soft))
    torch.testing.assert_close(mine, expected)


def test_noise_moves_with_the_batch() -> None:
    data = batch(4)
    assert data.to(torch.device("cpu")).noise is None
    noise = torch.randn(4, 3)
    moved = replace(data, noise=noise).to(torch.device("meta"))
    assert moved.noise is not None
    assert {t.device.type for t in (moved.noise, moved.features, moved.score, moved.nll, moved.cost)} == {"meta"}
    assert data.weight == 1
