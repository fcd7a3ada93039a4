"""What surrounds the library: the cloud template's checks, the embedded exchange and the cloud on one machine."""
