"""A record of what was answered: a row for each image, in Parquet, and the images where they are kept."""
