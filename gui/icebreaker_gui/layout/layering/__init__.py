"""Layered drawing of one level: boxes in rows, edges downwards.

Two steps, so that opening a group repeats only the second: `rows.arrange` finds rows and the order within them and
knows no sizes; `coordinates.place` gives coordinates to boxes of given sizes. The method is Sugiyama's: break cycles,
rank (`ranks`), thread long edges through the rows, reduce crossings by median sweeps (`crossings`), then find
coordinates.
"""
