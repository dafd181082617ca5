"""Judging a change while it runs: tests and intervals that may be looked at as often as one likes.

Knows nothing of the product: counts go in, e-values, confidence sequences and a choice with its
reason come out. An e-value E rejects its null when E >= 1/alpha, at any look. Everything is pure
and works in logs; arrays may carry leading dimensions (many trials or simulated runs at once).
Enter at `judge.judge`; `plan.compile_plan` fixes before the start what will be judged and
`evidence.step` takes the newest bins. Single tests stand in `counts`, `strata`, `means`, `tails`.
"""
