import Lake

open Lake DSL

package peelverify where
  version := v!"0.1.0"
  description := "Error bounds for compressed transformers, proved without Mathlib."
  leanOptions := #[
    ⟨`autoImplicit, false⟩,
    ⟨`relaxedAutoImplicit, false⟩
  ]

@[default_target]
lean_lib Proofs where
  moreLeanArgs := #["-DwarningAsError=true"]
