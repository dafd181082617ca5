"""Who somebody is: the owner, sign-in, sessions, tokens."""
