"""Grading untrusted notebooks: student code in a container, everything that counts outside it."""
