"""The tools behind `make`: environment, book, twins, release. The course imports none of it."""
