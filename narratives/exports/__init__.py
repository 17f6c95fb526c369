"""Bundles and scored rows for elsewhere: `runtime.py` a folder that scores alone, `torch_folder.py` one that transformers loads,
`convert.py` an output in another format."""
