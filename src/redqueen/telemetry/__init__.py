"""What viewers experience: their players' events, kept on disk, folded into what a trial is judged by."""
