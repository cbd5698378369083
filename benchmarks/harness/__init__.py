"""The benchmark harness: starts contenders, drives them, accounts for their CPU, and judges the gates.

It measures the product from outside, through processes, pipes and sockets; it must never import the product.
"""
