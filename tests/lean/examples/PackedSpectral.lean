module

public import Proofs

/-! Packed columns for the theorems of `Proofs/PackedSpectral.lean`: `n + 1` entries lie in one number. -/

noncomputable section

namespace PeelVerify.PackedSpectralExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

section Smallest

-- sizes packedDot_eq: width = 0, largest = 0, n = 0 and width = 2, largest = 1, n = 1;
-- a digit of `width` bits holds the sum of `n + 1` products
example := packedDot_eq (width := 0) (largest := 0) (n := 0) (fun _ => 0) (fun _ => 0) (by decide)
  (by decide) (by decide)
example := packedDot_eq (width := 2) (largest := 1) (n := 1) (fun i => i) (fun _ => 1) (by decide)
  (by decide) (by decide)
-- sizes opNorm2Le_of_packedSpectral: n = 0, m = 1, p = 0, columns = 0 and n = 1, m = 1, p = 1, columns = 1;
-- the stack has `n + 1 = m + p` rows, and the other numbers belong to the packing
example := opNorm2Le_of_packedSpectral (n := 0) (m := 1) (p := 0) (columns := []) (width := 8)
  (largest := 4) (offset := 1) (total := 0) (unit := (1 : Rat)) (c := 0) rfl (by decide)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- the matrix [3] above the factor [2], stored as 4 and 3: the Gram matrix is [13]
example := opNorm2Le_of_packedSpectral (n := 1) (m := 1) (p := 1) (columns := [⟨0x0304, 0x0403, 7⟩])
  (width := 8) (largest := 4) (offset := 1) (total := 13) (unit := (1 : Rat)) (c := 4) rfl (by decide)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)

end Smallest

end PeelVerify.PackedSpectralExamples
