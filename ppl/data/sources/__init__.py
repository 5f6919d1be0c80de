"""Sources of data: one module for each value of `data.source`, and the archives of public datasets."""
