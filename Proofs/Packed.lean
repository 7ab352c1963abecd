module

public import Proofs.Compression

/-!
# Weights as packed integers

A certificate whose numbers are themselves facts of Lean: the weights of a matrix and of its
compression are stored as one large integer for each row, and the squared distance is summed by
halving that integer. Nothing about the weights is assumed.

## Main results

* `packedDiffSq_eq_natSum`: summing by halves is summing over the entries.
* `normSq_packed_le`: the squared distance of two rows.
* `frobLe_of_packed`, `packed_output_error`: the whole matrix, and its outputs for every input.

## Assumptions

Entries are integers of a fixed width with an offset and a scale. Rows may be checked by separate
theorems and added up at the end.

## References

None.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

attribute [local instance] Semiring.natCast

universe u

variable {α : Type u}

/-- How integers stand for weights: an entry `a` of `width` bits means `scale * (a - offset)` units.

Python: none (an object in the file) -/
structure PackedFormat where
  /-- The number of bits of an entry. -/
  width : Nat
  /-- The entry that stands for zero. -/
  offset : Nat
  /-- The number of units in one step. -/
  scale : Nat

/-- One row of a matrix and of its compression, with a bound on their squared distance in units.

Python: none (an object in the file) -/
structure PackedRow where
  /-- The entries of the original row. -/
  original : Nat
  /-- The entries of the compressed row. -/
  compressed : Nat
  /-- A bound on the squared distance. -/
  bound : Nat

/-- Entry `i` of a packed row.

Python: none (bits of an integer) -/
def packedEntry (width data i : Nat) : Nat := data / 2 ^ (width * i) % 2 ^ width

/-- The numbers that a packed row stands for.

Python: none (the meaning of the data) -/
def PackedFormat.vec [Field α] (f : PackedFormat) (unit : α) (data : Nat) {n : Nat} : Fin n → α :=
  fun i => unit * (((f.scale * packedEntry f.width data i.val : Nat) : α) -
    ((f.scale * f.offset : Nat) : α))

/-- The square of the distance of two entries, in units.

Python: none (a product of integers) -/
def packedLeaf (f g : PackedFormat) (a b : Nat) : Nat :=
  Nat.mul
    (Nat.add
      (Nat.sub (Nat.add (Nat.mul f.scale a) (Nat.mul g.scale g.offset))
        (Nat.add (Nat.mul g.scale b) (Nat.mul f.scale f.offset)))
      (Nat.sub (Nat.add (Nat.mul g.scale b) (Nat.mul f.scale f.offset))
        (Nat.add (Nat.mul f.scale a) (Nat.mul g.scale g.offset))))
    (Nat.add
      (Nat.sub (Nat.add (Nat.mul f.scale a) (Nat.mul g.scale g.offset))
        (Nat.add (Nat.mul g.scale b) (Nat.mul f.scale f.offset)))
      (Nat.sub (Nat.add (Nat.mul g.scale b) (Nat.mul f.scale f.offset))
        (Nat.add (Nat.mul f.scale a) (Nat.mul g.scale g.offset))))

/-- The squared distance of two packed rows of `2 ^ levels` entries, in units, by halving.

Python: none (a sum of integers) -/
def packedDiffSq (f g : PackedFormat) (levels : Nat) : Nat → Nat → Nat :=
  Nat.rec (motive := fun _ => Nat → Nat → Nat) (packedLeaf f g)
    (fun j half x y => Nat.add
      (half (Nat.mod x (Nat.pow 2 (Nat.mul f.width (Nat.pow 2 j))))
        (Nat.mod y (Nat.pow 2 (Nat.mul g.width (Nat.pow 2 j)))))
      (half (Nat.div x (Nat.pow 2 (Nat.mul f.width (Nat.pow 2 j))))
        (Nat.div y (Nat.pow 2 (Nat.mul g.width (Nat.pow 2 j))))))
    levels

/-- The sum of `F 0`, …, `F (n - 1)`.

Python: none (the built-in `sum`) -/
def natSum : Nat → (Nat → Nat) → Nat
  | 0, _ => 0
  | n + 1, F => F 0 + natSum n fun i => F (i + 1)

/-- Check one packed row of at most `2 ^ levels` entries.

Python: none (integer arithmetic inside Lean) -/
def packedRowCheck (f g : PackedFormat) (levels : Nat) (r : PackedRow) : Bool :=
  Nat.ble (Nat.succ r.original) (Nat.pow 2 (Nat.mul f.width (Nat.pow 2 levels))) &&
    (Nat.ble (Nat.succ r.compressed) (Nat.pow 2 (Nat.mul g.width (Nat.pow 2 levels))) &&
      Nat.ble (packedDiffSq f g levels r.original r.compressed) r.bound)

/-- The sum of the bounds of the rows.

Python: none (the built-in `sum`) -/
def packedTotal : List PackedRow → Nat
  | [] => 0
  | r :: rest => r.bound + packedTotal rest

/-- The original matrix that the packed rows stand for.

Python: none (the meaning of the data) -/
def packedOriginal [Field α] (f : PackedFormat) (unit : α) (rows : List PackedRow) {n : Nat} :
    Fin rows.length → Fin n → α := fun i => f.vec unit rows[i].original

/-- The compressed matrix that the packed rows stand for.

Python: none (the meaning of the data) -/
def packedCompressed [Field α] (g : PackedFormat) (unit : α) (rows : List PackedRow) {n : Nat} :
    Fin rows.length → Fin n → α := fun i => g.vec unit rows[i].compressed

section Integers

private theorem natSum_succ (n : Nat) (F : Nat → Nat) :
    natSum (n + 1) F = F 0 + natSum n fun i => F (i + 1) := rfl

private theorem natSum_congr {n : Nat} {F G : Nat → Nat} (h : ∀ i, i < n → F i = G i) :
    natSum n F = natSum n G := by
  induction n generalizing F G with
  | zero => rfl
  | succ n ih =>
    unfold natSum
    rw [h 0 (Nat.zero_lt_succ _), ih fun i hi => h (i + 1) (Nat.succ_lt_succ hi)]

private theorem natSum_add (a b : Nat) (F : Nat → Nat) :
    natSum (a + b) F = natSum a F + natSum b fun i => F (a + i) := by
  induction a generalizing F with
  | zero => simp [natSum]
  | succ a ih =>
    have e : a + 1 + b = (a + b) + 1 := by omega
    rw [e, natSum_succ, natSum_succ, ih]
    have e2 : (fun i => F (a + i + 1)) = fun i => F (a + 1 + i) :=
      funext fun i => by congr 1; omega
    rw [e2]
    omega

private theorem natSum_mono {a b : Nat} (h : a ≤ b) (F : Nat → Nat) :
    natSum a F ≤ natSum b F := by
  obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le h
  rw [natSum_add]
  exact Nat.le_add_right _ _

private theorem packedEntry_mod (width K data i : Nat) (hi : i < K) :
    packedEntry width (data % 2 ^ (width * K)) i = packedEntry width data i := by
  unfold packedEntry
  have h1 : 2 ^ (width * K) = 2 ^ (width * i) * 2 ^ (width * (K - i)) := by
    rw [← Nat.pow_add, ← Nat.mul_add]
    congr 2
    omega
  rw [h1, Nat.mod_mul_right_div_self]
  refine Nat.mod_mod_of_dvd _ (Nat.pow_dvd_pow 2 ?_)
  exact Nat.le_mul_of_pos_right width (by omega)

private theorem packedEntry_div (width K data i : Nat) :
    packedEntry width (data / 2 ^ (width * K)) i = packedEntry width data (K + i) := by
  unfold packedEntry
  rw [Nat.div_div_eq_div_mul, ← Nat.pow_add, ← Nat.mul_add]

/-- Summing by halves is summing over the entries.

Python: none (integer arithmetic inside Lean) -/
theorem packedDiffSq_eq_natSum (f g : PackedFormat) (levels x y : Nat)
    (x_fits : x < 2 ^ (f.width * 2 ^ levels)) (y_fits : y < 2 ^ (g.width * 2 ^ levels)) :
    packedDiffSq f g levels x y = natSum (2 ^ levels) fun i =>
      packedLeaf f g (packedEntry f.width x i) (packedEntry g.width y i) := by
  induction levels generalizing x y with
  | zero =>
    have hx : packedEntry f.width x 0 = x := by
      unfold packedEntry
      rw [Nat.mul_zero, Nat.pow_zero, Nat.div_one]
      exact Nat.mod_eq_of_lt (by simpa using x_fits)
    have hy : packedEntry g.width y 0 = y := by
      unfold packedEntry
      rw [Nat.mul_zero, Nat.pow_zero, Nat.div_one]
      exact Nat.mod_eq_of_lt (by simpa using y_fits)
    show packedLeaf f g x y = _
    simp only [natSum, hx, hy, Nat.add_zero]
  | succ k ih =>
    have unfolded : packedDiffSq f g (k + 1) x y =
        packedDiffSq f g k (x % 2 ^ (f.width * 2 ^ k)) (y % 2 ^ (g.width * 2 ^ k)) +
          packedDiffSq f g k (x / 2 ^ (f.width * 2 ^ k)) (y / 2 ^ (g.width * 2 ^ k)) := rfl
    have half : ∀ (w z : Nat), z < 2 ^ (w * 2 ^ (k + 1)) →
        z / 2 ^ (w * 2 ^ k) < 2 ^ (w * 2 ^ k) := by
      intro w z hz
      refine Nat.div_lt_of_lt_mul ?_
      rw [← Nat.pow_add, ← Nat.mul_add]
      have e : 2 ^ k + 2 ^ k = 2 ^ (k + 1) := by rw [Nat.pow_succ]; omega
      rw [e]
      exact hz
    have pos : ∀ w : Nat, 0 < 2 ^ (w * 2 ^ k) := fun w => Nat.pow_pos (by decide)
    have e : 2 ^ (k + 1) = 2 ^ k + 2 ^ k := by rw [Nat.pow_succ]; omega
    rw [unfolded, ih _ _ (Nat.mod_lt _ (pos _)) (Nat.mod_lt _ (pos _)),
      ih _ _ (half _ _ x_fits) (half _ _ y_fits), e, natSum_add]
    congr 1
    · exact natSum_congr fun i hi => by rw [packedEntry_mod _ _ _ _ hi, packedEntry_mod _ _ _ _ hi]
    · exact natSum_congr fun i _ => by rw [packedEntry_div, packedEntry_div]

end Integers

section Field

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

private theorem cast_natSum (n : Nat) (F : Nat → Nat) :
    ((natSum n F : Nat) : α) = sum fun i : Fin n => ((F i.val : Nat) : α) := by
  induction n generalizing F with
  | zero => exact Semiring.natCast_zero
  | succ n ih =>
    unfold natSum
    rw [Semiring.natCast_add, ih, sum_succ]
    rfl

private theorem cast_leaf (x y : Nat) :
    (((x - y + (y - x)) * (x - y + (y - x)) : Nat) : α) =
      ((x : α) - (y : α)) * ((x : α) - (y : α)) := by
  rcases Nat.le_total x y with h | h
  · obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le h
    have e : x - (x + d) + (x + d - x) = d := by omega
    rw [e, Semiring.natCast_mul, Semiring.natCast_add]
    grind
  · obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le h
    have e : y + d - y + (y - (y + d)) = d := by omega
    rw [e, Semiring.natCast_mul, Semiring.natCast_add]
    grind

/-- The squared distance of two packed rows is at most the sum by halves times the square of the
unit.

Python: none (integer arithmetic inside Lean) -/
theorem normSq_packed_le (f g : PackedFormat) (unit : α) (levels x y : Nat) {n : Nat}
    (n_le : n ≤ 2 ^ levels) (x_fits : x < 2 ^ (f.width * 2 ^ levels))
    (y_fits : y < 2 ^ (g.width * 2 ^ levels)) :
    normSq (fun i : Fin n => g.vec unit y i - f.vec unit x i) ≤
      unit * unit * ((packedDiffSq f g levels x y : Nat) : α) := by
  rw [packedDiffSq_eq_natSum f g levels x y x_fits y_fits]
  have h1 := natCast_le_natCast (α := α) (natSum_mono n_le fun i =>
    packedLeaf f g (packedEntry f.width x i) (packedEntry g.width y i))
  have h2 := mul_le_mul_left (mul_self_nonneg unit) h1
  suffices key : normSq (fun i : Fin n => g.vec unit y i - f.vec unit x i) =
      unit * unit * ((natSum n fun i =>
        packedLeaf f g (packedEntry f.width x i) (packedEntry g.width y i) : Nat) : α) by
    rw [key]
    exact h2
  rw [cast_natSum, ← sum_mul_left]
  refine sum_congr fun i => ?_
  have h3 := cast_leaf (α := α) (f.scale * packedEntry f.width x i.val + g.scale * g.offset)
    (g.scale * packedEntry g.width y i.val + f.scale * f.offset)
  have h4 : packedLeaf f g (packedEntry f.width x i.val) (packedEntry g.width y i.val) =
      (f.scale * packedEntry f.width x i.val + g.scale * g.offset -
          (g.scale * packedEntry g.width y i.val + f.scale * f.offset) +
        (g.scale * packedEntry g.width y i.val + f.scale * f.offset -
          (f.scale * packedEntry f.width x i.val + g.scale * g.offset))) *
      (f.scale * packedEntry f.width x i.val + g.scale * g.offset -
          (g.scale * packedEntry g.width y i.val + f.scale * f.offset) +
        (g.scale * packedEntry g.width y i.val + f.scale * f.offset -
          (f.scale * packedEntry f.width x i.val + g.scale * g.offset))) := rfl
  rw [h4, h3, Semiring.natCast_add, Semiring.natCast_add]
  unfold PackedFormat.vec
  grind only

/-- If every packed row passes its check and the square of the unit times the sum of the bounds is
at most `c * c`, the Frobenius norm of the difference of the two matrices is at most `c`.

Python: none (integer arithmetic inside Lean) -/
theorem frobLe_of_packed (f g : PackedFormat) (unit : α) (levels : Nat) (rows : List PackedRow)
    {n : Nat} {c : α} (n_le : n ≤ 2 ^ levels) (c_nonneg : 0 ≤ c)
    (passes : ∀ r ∈ rows, packedRowCheck f g levels r = true)
    (total_le : unit * unit * ((packedTotal rows : Nat) : α) ≤ c * c) :
    FrobLe (fun (i : Fin rows.length) (j : Fin n) =>
      packedCompressed g unit rows i j - packedOriginal f unit rows i j) c := by
  refine ⟨c_nonneg, Std.le_trans ?_ total_le⟩
  clear total_le
  unfold frobSq packedCompressed packedOriginal
  induction rows with
  | nil =>
    show (0 : α) ≤ _
    exact mul_nonneg (mul_self_nonneg unit) (natCast_nonneg _)
  | cons r rest ih =>
    have h := passes r List.mem_cons_self
    simp only [packedRowCheck, Bool.and_eq_true, Nat.ble_eq] at h
    have h1 := normSq_packed_le (n := n) f g unit levels r.original r.compressed n_le h.1 h.2.1
    have h2 := mul_le_mul_left (mul_self_nonneg unit) (natCast_le_natCast (α := α) h.2.2)
    have h3 := ih fun q hq => passes q (List.mem_cons_of_mem _ hq)
    have e : unit * unit * ((packedTotal (r :: rest) : Nat) : α) =
        unit * unit * ((r.bound : Nat) : α) + unit * unit * ((packedTotal rest : Nat) : α) := by
      show unit * unit * ((r.bound + packedTotal rest : Nat) : α) = _
      rw [Semiring.natCast_add]
      grind only
    rw [e]
    exact OrderedAdd.add_le_add (Std.le_trans h1 h2) h3

/-- A matrix and its compression, given as packed integers that pass their checks, differ in their
output by at most `c` times the length of the input, for every input.

Python: none (integer arithmetic inside Lean) -/
theorem packed_output_error (f g : PackedFormat) (unit : α) (levels : Nat)
    (rows : List PackedRow) {n : Nat} {c radius : α} (n_le : n ≤ 2 ^ levels) (c_nonneg : 0 ≤ c)
    (passes : ∀ r ∈ rows, packedRowCheck f g levels r = true)
    (total_le : unit * unit * ((packedTotal rows : Nat) : α) ≤ c * c) (x : Fin n → α)
    (length_le : Norm2Le x radius) :
    Norm2Le (fun i => mulVec (packedCompressed g unit rows) x i -
      mulVec (packedOriginal f unit rows) x i) (c * radius) :=
  weight_error (OpNorm2Le.of_frob
    (frobLe_of_packed f g unit levels rows n_le c_nonneg passes total_le)) length_le

end Field

section Examples

private abbrev eight : PackedFormat := ⟨8, 128, 1⟩
private abbrev four : PackedFormat := ⟨4, 8, 16⟩
private abbrev rows : List PackedRow :=
  [⟨0x70859088, 0x7898, 89⟩, ⟨0x80818283, 0x8888, 14⟩]

example : packedEntry 8 0x70859088 2 = 0x85 := by decide +kernel
example : packedDiffSq eight four 2 0x80818283 0x8888 = 14 := by decide +kernel
example : natSum 4 (fun i => packedLeaf eight four (packedEntry 8 0x80818283 i)
    (packedEntry 4 0x8888 i)) = 14 := by decide +kernel
example : packedTotal rows = 103 := by decide +kernel
example : packedRowCheck eight four 2 ⟨0x80818283, 0x8888, 13⟩ = false := by decide +kernel
example : ∀ i, eight.vec (1 / 2 : Rat) 0x7F82 i = (vec [1, -1 / 2] : Fin 2 → Rat) i := by
  decide +kernel
example : FrobLe (fun (i : Fin 2) (j : Fin 4) =>
    packedCompressed four (1 / 2 : Rat) rows i j - packedOriginal eight (1 / 2) rows i j)
    (51 / 10) :=
  frobLe_of_packed eight four (1 / 2) 2 rows (by decide) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example (x : Fin 4 → Rat) (hx : Norm2Le x 1) : Norm2Le (fun i =>
    mulVec (packedCompressed four (1 / 2 : Rat) rows) x i -
      mulVec (packedOriginal eight (1 / 2) rows) x i) (51 / 10 * 1) :=
  packed_output_error eight four (1 / 2) 2 rows (by decide) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) x hx
example : packedDiffSq eight four 2 0x80818283 0x8888 = natSum (2 ^ 2) fun i =>
    packedLeaf eight four (packedEntry 8 0x80818283 i) (packedEntry 4 0x8888 i) :=
  packedDiffSq_eq_natSum eight four 2 0x80818283 0x8888 (by decide) (by decide)
example : normSq (fun i : Fin 4 => four.vec (1 / 2 : Rat) 0x8888 i -
    eight.vec (1 / 2) 0x80818283 i) ≤
      1 / 2 * (1 / 2) * (packedDiffSq eight four 2 0x80818283 0x8888 : Nat) :=
  normSq_packed_le eight four (1 / 2) 2 0x80818283 0x8888 (by decide) (by decide) (by decide)

end Examples

end PeelVerify
