"""The review page: people read what was flagged, confirm it, correct it, and give it back as training data.

`rows.py` opens an output of `narratives score`, `index.py` asks it questions and `texts.py` reads its posts, `store.py` keeps decisions and
`carry.py` takes them over from older versions, `figures.py` counts them, `export.py` turns them into labelled posts, and `app.py` with
`server.py` is the page. Needs `narratives[review]`.
"""
