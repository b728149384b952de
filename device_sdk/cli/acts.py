"""The commands of `sinfonia`, in the order in which the help lists them, each with a line about it.

Read by `arguments.py`, which imports a command's module when somebody asks for that command.
"""

from __future__ import annotations

ACTS = {
    "run": "run a command with a way to the backend",
    "associate": "stay connected to a backend",
    "find": "show the cloudlets that a deploy would ask",
    "deploy": "deploy the backend and show the ways to it",
    "release": "give back what this device has of the app",
    "provision": "bring the app's recipe and images to a cloudlet nearby, and deploy there",
    "export": "write a tunnel for another device: a file, or a QR code",
    "context": "show what is told about this device, and what is not",
    "doctor": "find what this device lacks",
    "pair": "know a cloudlet at home, and be known to it",
    "completion": "print completions for a shell",
}
