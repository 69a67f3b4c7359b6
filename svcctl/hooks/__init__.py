"""The contract between svcctl and a service, and the services that ship.

A hook decides, a manager does, and between them stands an operation.
"""
