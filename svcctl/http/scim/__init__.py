"""The SCIM 2.0 protocol (RFC 7643, 7644), for the scim hook and the scim source.

Plain JSON, not models of it: a server that breaks the schema in one attribute can still be used.
What a server announces is believed only where its answers agree.
"""
