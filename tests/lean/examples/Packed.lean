module

public import Proofs

/-! Packed rows for the theorems of `Proofs/Packed.lean`: `2 ^ levels` entries lie in one number. -/

noncomputable section

namespace PeelVerify.PackedExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

private abbrev eight : PackedFormat := ⟨8, 128, 1⟩
private abbrev four : PackedFormat := ⟨4, 8, 16⟩
private abbrev x0 : Fin 0 → Rat := vec []
private abbrev x1 : Fin 1 → Rat := vec [3]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_le : Norm2Le x1 3 := ⟨by decide +kernel, by decide +kernel⟩

section Smallest

-- sizes packedDiffSq_eq_natSum: levels = 0 and levels = 1; x and y are the packed entries
example := packedDiffSq_eq_natSum (levels := 0) eight four 0x83 0x9 (by decide) (by decide)
example := packedDiffSq_eq_natSum (levels := 1) eight four 0x8283 0x89 (by decide) (by decide)
-- sizes normSq_packed_le: levels = 0, n = 0 and levels = 1, n = 1; x and y are the packed entries
example := normSq_packed_le (levels := 0) (n := 0) eight four (1 / 2 : Rat) 0x83 0x9 (by decide) (by decide)
  (by decide)
-- one entry and one of padding
example := normSq_packed_le (levels := 1) (n := 1) eight four (1 / 2 : Rat) 0x8083 0x89 (by decide)
  (by decide) (by decide)
-- sizes frobLe_of_packed: levels = 0, rows = 0, n = 0 and levels = 1, rows = 1, n = 1; f and g are formats
example := frobLe_of_packed (levels := 0) (rows := []) (n := 0) eight four (1 / 2 : Rat) (c := 0)
  (by decide) (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- 0x83 is 3 units, 0x9 one step of 16 units: their distance is 13
example := frobLe_of_packed (levels := 1) (rows := [⟨0x8083, 0x89, 169⟩]) (n := 1) eight four (1 / 2 : Rat)
  (c := 13 / 2) (by decide) (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- sizes packed_output_error: levels = 0, rows = 0, n = 0 and levels = 1, rows = 1, n = 1;
-- f and g are formats
example := packed_output_error (levels := 0) (rows := []) (n := 0) eight four (1 / 2 : Rat) (c := 0)
  (by decide) (by decide +kernel) (by decide +kernel) (by decide +kernel) x0 x0_le
example := packed_output_error (levels := 1) (rows := [⟨0x8083, 0x89, 169⟩]) (n := 1) eight four
  (1 / 2 : Rat) (c := 13 / 2) (by decide) (by decide +kernel) (by decide +kernel) (by decide +kernel) x1
  x1_le

end Smallest

end PeelVerify.PackedExamples
