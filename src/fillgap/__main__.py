"""Run the command line as python -m fillgap."""

from fillgap.cli import main

if __name__ == "__main__":
    main()
