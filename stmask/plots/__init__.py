"""The pictures of the notebooks. What they show is computed by the parts they show; here it is only drawn."""
