"""`python -m llmcore`: the command line."""

from llmcore.cli import main

if __name__ == "__main__":
    main(prog_name="llmcore")
