#!/bin/sh
# A node stands still between any two steps of the delivery protocol, is taken over, and goes on: tests/acceptance/crash_points.py
exec "$(dirname "$(readlink -f "$0")")/../acceptance/crash_points.py" --freeze "$@"
