"""Certificates for tests: the demo's authority under the tests' name."""

from proxy.cli.demo.certificates import LOOPBACK, Authority, Issued

__all__ = ["LOOPBACK", "Authority", "Issued"]
