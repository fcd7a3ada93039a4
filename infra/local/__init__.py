"""The cloud on one machine: the embedded AWS, the template in it, and the runner around both."""
