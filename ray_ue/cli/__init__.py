"""The command line: commands, their flags and output, and the doctor, preview, demo and job submission."""
