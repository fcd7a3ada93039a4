"""Checks the template and its state machine; one line per problem on standard error, exit code 1 if there is one."""

import json
import sys
from pathlib import Path

from infra.checks.asl import lint_machine
from infra.checks.basket_machine import BASKET_MACHINE, EXECUTION_INPUT, PROMISES
from infra.checks.template_rules import Project, check_project

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run every check on this project."""
    machine = json.loads((ROOT / BASKET_MACHINE).read_text(encoding="utf-8"))
    problems = [f"{BASKET_MACHINE}: {problem}" for problem in lint_machine(machine, EXECUTION_INPUT, PROMISES)]
    problems += [f"template.yaml: {problem}" for problem in check_project(Project.load(ROOT))]
    for problem in problems:
        sys.stderr.write(problem + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
