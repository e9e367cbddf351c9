"""What does the model give away about its training data?"""
