"""Is the model right where nobody attacks it: on average, in every slice, under noise, and on other machines?"""
