"""The tools behind `make`: the environment, the book, the twins, the release. Nothing of the course imports them."""
