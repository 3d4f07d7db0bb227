# Verbs only; the logic is in tooling/. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help book serve test check sync release grade-demo bench bench-grade links clean
export PYTHON

RUN = sh tooling/run.sh

help:     ## list the verbs
	@sed -n 's/^\([a-z-]*\): *## /  make \1\t/p' Makefile | expand -t 20

book:     ## set everything up and build the site
	@$(RUN) book,grade tooling.build

serve:    ## serve the built site on this machine
	@$(RUN) book,grade tooling.serve

test:     ## run every test this machine can run
	@$(RUN) dev tooling.test

check:    ## lint, format, and see that generated files are fresh
	@$(RUN) dev tooling.check

sync:     ## write the notebook twins of the lessons
	@$(RUN) book,grade tooling.sync

release:  ## generate the learners' notebooks from solutions/
	@$(RUN) book,grade tooling.release

grade-demo: ## make a sample class of thirty and grade it; CHAPTER=lora, inference, training or preference for that chapter's
	@$(RUN) grade tooling.grade_demo $(CHAPTER)

bench:    ## measure, and write benchmarks/results/
	@$(RUN) dev tooling.bench

bench-grade: ## stock nbgrader beside clearhead grade, on the same fifty submissions
	@$(RUN) grade tooling.bench grading

links:    ## ask every cited address whether it still answers (needs a network)
	@$(RUN) book,grade tooling.build linkcheck

clean:    ## remove the built site (the environment stays)
	@rm -rf _build chapters/library
