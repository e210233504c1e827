"""Makes `python -m girih.opt` the same command as `girih-opt`."""

from girih.compiler.opt import main

if __name__ == "__main__":
    main()
