"""The report on a scored dump: who said what first, who passed it on, how many saw it, and how sure that is.

`rows.py` reads an output of `narratives score`; `amplification.py`, `spread.py`, `network.py`, `bursts.py`, `intervals.py` and
`periods.py` compute; `charts.py` draws; `page.py` and `templates/` make the page; `assets.py` writes tables and pictures beside
it; `build.py` is the way from file to page.
"""
