"""The command line: one command per pipeline, its flags, what it prints, and the doctor, preview, demo and job submission."""
