"""What can go wrong with the cloud on this machine.

LocalCloudError
+-- EndpointError     an address that is not loopback, or a socket that is open to others
+-- StartError        the embedded AWS did not come up
+-- SeamError         the embedded AWS is not built the way our patches expect
+-- TemplateError     the template cannot be packaged or translated
+-- DeployError       the embedded AWS refused the stack
+-- SamError          the SAM command line refused or failed
+-- DeployCheckError  a deployment did not do what it must
+-- StateError        what an earlier run left cannot be continued
"""

from kalshi_arb.domain.errors import KalshiArbError


class LocalCloudError(KalshiArbError):
    """Root of the tree."""


class EndpointError(LocalCloudError):
    """An address or a listening socket that other machines could reach."""


class StartError(LocalCloudError):
    """The embedded AWS did not come up; the message carries the end of its log."""


class SeamError(LocalCloudError):
    """A place in the embedded AWS that a patch needs is missing or has another shape; names the place and version."""


class TemplateError(LocalCloudError):
    """The template, or a file it names, cannot be packaged or translated."""


class DeployError(LocalCloudError):
    """The embedded AWS refused the stack; the message carries the reasons of the resources that failed."""


class SamError(LocalCloudError):
    """The SAM command line is missing, refused or failed; the message is the end of what it said."""


class DeployCheckError(LocalCloudError):
    """A step of the deployment check did not do what it must; the message says what it did instead."""


class StateError(LocalCloudError):
    """What an earlier run left in the folder cannot be continued; the message says what and what to do."""
