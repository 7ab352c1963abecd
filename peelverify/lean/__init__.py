"""Find or install Lean, build the proofs, audit their sources, list the theorems, confirm numbers."""
