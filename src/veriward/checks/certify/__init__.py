"""What is proved of a model: bounds of networks and trees, and of models that answer by vote."""
