"""The accepted content of annotation and results files, shared by training and scoring."""
