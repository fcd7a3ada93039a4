"""Our own checks of the deployment: what the general linters do not see. Run with ``python -m infra.checks``."""
