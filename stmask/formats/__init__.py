"""What annotation and results files may say: one opinion, shared by those who learn from them and those who score."""
