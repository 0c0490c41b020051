"""Serve the routed model: an OpenAI-compatible chat endpoint on this machine.

python -m experiments.serve policy.lambda_cost=0.05
python -m experiments.serve policy/baseline=always_full serve.port=8001
"""

from pathlib import Path

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session


def run(config: RunConfig, folder: Path, session: Session | None = None) -> None:
    """Answer requests until the process is interrupted."""
    from vovnet.serve.run import serve

    serve(config, session or Session())


def show(_: None, folder: Path) -> None:
    """There is no result."""


def main() -> None:
    """Console entry point."""
    launch("serve", run, show, finish=None)


if __name__ == "__main__":
    main()
