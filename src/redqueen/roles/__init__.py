"""The composition root: what each role of node is made of, and the only place that names drivers.

One file per role; `node.py` is the life they share, `stores.py` opens the drivers, the other
modules adapt one package's ports to another's services. `python -m redqueen.roles NODE.json`
runs a node. Enter at `node.serve_node`, `region.prepare`.
"""
