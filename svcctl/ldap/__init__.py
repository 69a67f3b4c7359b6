"""Speaking LDAP to directory servers: one small client on ldap3, and where servers differ."""
