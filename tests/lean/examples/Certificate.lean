module

public import Proofs

/-! Certificates for the theorems of `Proofs/Certificate.lean`: an empty one and one with a single record. -/

noncomputable section

namespace PeelVerify.CertificateExamples

open Lean.Grind

private abbrev chain0 : ChainCertificate Rat where
  initial := ⟨5, 5⟩
  blocks := []
  direct := 5
  portable := 6
  chainBound := 7

private abbrev chain1 : ChainCertificate Rat where
  initial := ⟨5, 5⟩
  blocks := [
    { propagated := ⟨4, 4⟩, introduced := ⟨3, 3⟩, error := ⟨5, 5⟩, gain := 4 / 5, chain := 7 }]
  direct := 5
  portable := 6
  chainBound := 7

private abbrev units0 : UnitsCertificate Rat where
  windows := []
  lossPositions := 0
  positions := 0
  lossChangeMax := 0
  lossChangeMean := 0
  sameTop := 0

private abbrev units1 : UnitsCertificate Rat where
  windows := [⟨1 / 2, 3 / 4, 3⟩]
  lossPositions := 3
  positions := 4
  lossChangeMax := 1 / 2
  lossChangeMean := 1 / 4
  sameTop := 3

private abbrev matrix0 : MatrixCertificate Rat where
  rows := 0
  columns := 0
  factorRows := 0
  entries := []
  factor := []
  bound := 0
  radius := 1
  output := 0

private abbrev matrix1 : MatrixCertificate Rat where
  rows := 1
  columns := 1
  factorRows := 1
  entries := [[2]]
  factor := [[2]]
  bound := 3
  radius := 5
  output := 15

private abbrev dual1 : DualCertificate Rat where
  samples := 1
  features := 0
  inputs := [[]]
  target := [3]
  dual := [1]
  lower := 9

private abbrev dual2 : DualCertificate Rat where
  samples := 2
  features := 1
  inputs := [[1], [1]]
  target := [3, 1]
  dual := [1, -1]
  lower := 2

section Smallest

example : chain0.blocks.length = 0 := rfl
example : chain1.blocks.length = 1 := rfl
example : units0.windows.length = 0 := rfl
example : units1.windows.length = 1 := rfl
example : matrix0.rows = 0 ∧ matrix0.columns = 0 ∧ matrix0.factorRows = 0 := ⟨rfl, rfl, rfl⟩
example : matrix1.rows = 1 ∧ matrix1.columns = 1 ∧ matrix1.factorRows = 1 := ⟨rfl, rfl, rfl⟩
example : dual1.samples = 1 ∧ dual1.features = 0 := ⟨rfl, rfl⟩
example : dual2.samples = 2 ∧ dual2.features = 1 := ⟨rfl, rfl⟩

-- sizes check_sound: c.blocks.length = 0 and c.blocks.length = 1; the blocks of the record
example := check_sound (c := chain0) (by decide +kernel) (fun _ => 5) (fun _ => 0) (fun _ => 0)
  (by unfold Enclosure.Mem; decide +kernel) (by unfold Enclosure.Mem; decide +kernel)
  (by unfold Enclosure.Mem; decide +kernel) (by unfold Enclosure.Mem; decide +kernel) (by decide +kernel)
example := check_sound (c := chain1) (by decide +kernel) (fun _ => 5) (fun _ => 4) (fun _ => 3)
  (by unfold Enclosure.Mem; decide +kernel) (by unfold Enclosure.Mem; decide +kernel)
  (by unfold Enclosure.Mem; decide +kernel) (by unfold Enclosure.Mem; decide +kernel) (by decide +kernel)
-- sizes check_sound_states: c.blocks.length = 0 and c.blocks.length = 1; the blocks of the record
example := check_sound_states (c := chain0) (by decide +kernel) (fun _ => 2) (fun _ => vec [0, 0])
  (fun _ => vec [3, 4]) (fun _ => vec [0, 0]) (fun _ => vec [0, 0])
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel) (by decide +kernel)
example := check_sound_states (c := chain1) (by decide +kernel) (fun _ => 2) (fun _ => vec [0, 0])
  (fun t => [vec [3, 4], vec [4, 3]].getD t (vec [])) (fun _ => vec [4, 0]) (fun _ => vec [0, 3])
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
  (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel) (by decide +kernel)
-- sizes chainBound_le_of_check: c.blocks.length = 0 and c.blocks.length = 1; the blocks of the record
example := chainBound_le_of_check (c := chain0) (by decide +kernel)
example := chainBound_le_of_check (c := chain1) (by decide +kernel)
-- sizes unitsCheck_sound: c.windows.length = 0 and c.windows.length = 1; the windows of the record
example := unitsCheck_sound (c := units0) (by decide +kernel) (fun _ => []) (by decide +kernel)
  (by decide +kernel)
example := unitsCheck_sound (c := units1) (by decide +kernel) (fun _ => [1 / 2, 1 / 4])
  (by decide +kernel) (by decide +kernel)
-- sizes unitsCheck_append: c.windows.length = 0 and c.windows.length = 1; the windows of the record
example := unitsCheck_append (c := units0) units0 units0 (by decide +kernel) (by decide +kernel) rfl
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := unitsCheck_append (c := units1) units0 units1 (by decide +kernel) (by decide +kernel) rfl
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- sizes matrixCheck_sound: c.rows = 0, c.columns = 0, c.factorRows = 0 and
-- c.rows = 1, c.columns = 1, c.factorRows = 1; the shape of the record
example := matrixCheck_sound (c := matrix0) (by decide +kernel) (vec [])
  ⟨by decide +kernel, by decide +kernel⟩
example := matrixCheck_sound (c := matrix1) (by decide +kernel) (vec [5])
  ⟨by decide +kernel, by decide +kernel⟩
-- sizes dualCheck_sound: c.samples = 1, c.features = 0 and c.samples = 2, c.features = 1;
-- the dual vector is not 0
example := dualCheck_sound (c := dual1) (by decide +kernel) (vec [])
example := dualCheck_sound (c := dual2) (by decide +kernel) (vec [5])

end Smallest

end PeelVerify.CertificateExamples
