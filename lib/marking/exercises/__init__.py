"""The exercises as data: one package a chapter, one file an exercise."""
