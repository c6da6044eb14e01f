"""Tables, plots and pictures: pure functions from numbers to text, images and files."""
