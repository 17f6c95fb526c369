"""The scorer inside other people's tools, one file each: `spacy.py` and `sklearn.py`. Nothing here is imported unless it is asked for."""
