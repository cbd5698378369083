"""Bytes, frames and messages as pure state machines.

Nothing in this folder knows trio, a clock, a socket, ssl or logging; every module can be tested by feeding it bytes.
"""
