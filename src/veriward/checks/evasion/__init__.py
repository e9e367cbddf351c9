"""Can the input be changed so that the decision changes?"""
