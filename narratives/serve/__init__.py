"""`narratives serve`: a small HTTP service. `config.py` its settings, `app.py` the routes, `batcher.py` requests scored together,
`limits.py` what is refused, `metrics.py` what is counted, `schema.py` what goes in and out. Needs `narratives[serve]`."""
