"""What `ppl.data.new` does with photos and their labels: read, divide, write a dataset folder and settings."""
