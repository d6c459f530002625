"""Who may call: logins, sessions of admins, keys, what signs tokens, and the record of it all."""
