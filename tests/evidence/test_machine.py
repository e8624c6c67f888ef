"""What a report says of the machine tells numbers apart, and names neither the machine nor its user."""

import getpass
import platform
from importlib.metadata import version

from sigvit.evidence import machine


def test_versions_are_those_installed_and_absent_packages_are_left_out(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package"))
    assert machine.package_versions() == {"numpy": version("numpy")}


def test_neither_host_nor_user_is_named():
    said = " ".join(machine.describe_machine().values()).split()
    assert platform.node() not in said
    assert getpass.getuser() not in said


def test_every_line_says_something_where_the_system_tells_little(monkeypatch):
    monkeypatch.setattr(machine.os.path, "exists", lambda path: False)
    monkeypatch.delattr(machine.os, "sysconf")
    described = machine.describe_machine()
    assert all(described.values())
    assert described["Memory"] == "not known"
