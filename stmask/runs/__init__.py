"""A run's folder: what is in it, who may write there, what makes two runs one. Readers of runs need no trainer."""
