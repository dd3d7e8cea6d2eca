"""Training and evaluation runs on PyTorch Lightning."""
