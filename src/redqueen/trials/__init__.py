"""Every change is a trial: who gets which arm, what is judged, how it ends. One engine for many subjects."""
