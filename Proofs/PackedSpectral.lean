module

public import Proofs.Packed

/-!
# A spectral certificate from packed integers

A bound on the operator norm of a matrix whose entries are given as packed integers, cheap enough
for the kernel at sizes where a certificate over the rationals is not. Below the matrix `A` stands a
factor `L`; if every row of absolute values of the Gram matrix of both together sums to at most
`C`, then `‖A‖² ≤ C`. One multiplication of two long integers gives a whole inner product: the
columns are packed forwards and backwards, and the product carries the inner product in its middle
digit.

## Main results

* `packedDot_eq`: the middle digit is the inner product.
* `opNorm2Le_of_packedSpectral`: a passed check bounds the operator norm.

## Assumptions

Digits are wide enough that no inner product overflows, which the check tests.

## References

The packing is Kronecker's substitution.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

attribute [local instance] Semiring.natCast

universe u

variable {α : Type u}

/-- One column of a matrix as packed integers.

Python: none (an object in the file) -/
structure PackedColumn where
  /-- The entries, the first one in the lowest digit. -/
  forward : Nat
  /-- The entries, the first one in the highest digit. -/
  backward : Nat
  /-- The sum of the entries. -/
  total : Nat

/-- The first `n` entries with the first one in the lowest of the digits to the base `2 ^ width`.

Python: none (bits of an integer) -/
def packForward (width : Nat) : Nat → (Nat → Nat) → Nat
  | 0, _ => 0
  | n + 1, e => packForward width n e + e n * 2 ^ (width * n)

/-- The first `n` entries with the first one in the highest digit.

Python: none (bits of an integer) -/
def packBackward (width : Nat) : Nat → (Nat → Nat) → Nat
  | 0, _ => 0
  | n + 1, e => Nat.add (Nat.mul (Nat.pow 2 width) (packBackward width n e)) (e n)

/-- The inner product of the first `n` entries.

Python: none (a sum of integers) -/
def natDot : Nat → (Nat → Nat) → (Nat → Nat) → Nat
  | 0, _, _ => 0
  | n + 1, e, f => natDot n e f + e n * f n

/-- The sum of the first `n` entries.

Python: none (the built-in `sum`) -/
def natTotal : Nat → (Nat → Nat) → Nat
  | 0, _ => 0
  | n + 1, e => Nat.add (natTotal n e) (e n)

/-- The first `n` entries are at most `largest`.

Python: none (a comparison) -/
def natBounded (largest : Nat) : Nat → (Nat → Nat) → Bool
  | 0, _ => true
  | n + 1, e => Nat.ble (e n) largest && natBounded largest n e

/-- The middle digit of the product of a forward and a backward integer of `n + 1` digits.

Python: none (bits of an integer) -/
def packedDot (width n forward backward : Nat) : Nat :=
  Nat.mod (Nat.div (Nat.mul forward backward) (Nat.pow 2 (Nat.mul width n))) (Nat.pow 2 width)

/-- The absolute value of an entry of the Gram matrix, in squared units, for columns of `n + 1`
entries whose zero is stored as `offset`.

Python: none (integer arithmetic inside Lean) -/
def packedGramAbs (width n offset : Nat) (c d : PackedColumn) : Nat :=
  Nat.add
    (Nat.sub (Nat.add (packedDot width n c.forward d.backward) (Nat.mul (n + 1) (Nat.mul offset offset)))
      (Nat.mul offset (Nat.add c.total d.total)))
    (Nat.sub (Nat.mul offset (Nat.add c.total d.total))
      (Nat.add (packedDot width n c.forward d.backward) (Nat.mul (n + 1) (Nat.mul offset offset))))

/-- The sum of the absolute values of one row of the Gram matrix.

Python: none (integer arithmetic inside Lean) -/
def packedGramRow (width n offset : Nat) (c : PackedColumn) : List PackedColumn → Nat
  | [] => 0
  | d :: rest => Nat.add (packedGramAbs width n offset c d) (packedGramRow width n offset c rest)

/-- Check that a packed column of `n + 1` entries of at most `largest` is what it says.

Python: none (integer arithmetic inside Lean) -/
def packedColumnCheck (width n largest : Nat) (c : PackedColumn) : Bool :=
  Nat.ble (Nat.succ c.forward) (Nat.pow 2 (Nat.mul width (n + 1))) &&
    (natBounded largest (n + 1) (packedEntry width c.forward) &&
      (Nat.beq (packBackward width (n + 1) (packedEntry width c.forward)) c.backward &&
        Nat.beq (natTotal (n + 1) (packedEntry width c.forward)) c.total))

/-- The matrix that packed columns stand for.

Python: none (the meaning of the data) -/
def packedMatrix [Field α] (width offset : Nat) (unit : α) (columns : List PackedColumn) {m : Nat} :
    Fin m → Fin columns.length → α :=
  fun i j => unit * (((packedEntry width columns[j].forward i.val : Nat) : α) - ((offset : Nat) : α))

section Integers

private theorem packForward_entries (width data n : Nat) :
    packForward width n (packedEntry width data) = data % 2 ^ (width * n) := by
  induction n with
  | zero => rw [Nat.mul_zero, Nat.pow_zero, Nat.mod_one]; rfl
  | succ n ih =>
    have e : 2 ^ (width * (n + 1)) = 2 ^ (width * n) * 2 ^ width := by
      rw [← Nat.pow_add, Nat.mul_succ]
    unfold packForward
    rw [ih, e, Nat.mod_mul, Nat.mul_comm (2 ^ (width * n))]
    rfl

/-- The number with `n` digits that are all one. -/
private def ones (base : Nat) : Nat → Nat
  | 0 => 0
  | n + 1 => base * ones base n + 1

private theorem ones_succ (base n : Nat) : ones base (n + 1) = ones base n + base ^ n := by
  induction n with
  | zero => simp only [ones, Nat.mul_zero, Nat.zero_add, Nat.pow_zero]
  | succ n ih =>
    have e : ones base (n + 2) = base * ones base (n + 1) + 1 := rfl
    rw [e, ih, Nat.mul_add, Nat.pow_succ, Nat.mul_comm base (base ^ n)]
    have e2 : ones base (n + 1) = base * ones base n + 1 := rfl
    rw [ih] at e2
    omega

private theorem ones_bound (base n : Nat) : base * ones base n + 1 = ones base n + base ^ n :=
  ones_succ base n

private theorem packForward_le (width largest n : Nat) (e : Nat → Nat)
    (small : ∀ i, i < n → e i ≤ largest) :
    packForward width n e ≤ largest * ones (2 ^ width) n := by
  induction n with
  | zero => exact Nat.zero_le _
  | succ n ih =>
    have h1 := ih fun i hi => small i (Nat.lt_succ_of_lt hi)
    have h2 := Nat.mul_le_mul_right (2 ^ (width * n)) (small n (Nat.lt_succ_self n))
    rw [ones_succ, Nat.mul_add, ← Nat.pow_mul]
    exact Nat.add_le_add h1 h2

private theorem natDot_le (largest n : Nat) (e f : Nat → Nat) (small : ∀ i, i < n → e i ≤ largest)
    (small' : ∀ i, i < n → f i ≤ largest) : natDot n e f ≤ n * (largest * largest) := by
  induction n with
  | zero => exact Nat.zero_le _
  | succ n ih =>
    have h1 := ih (fun i hi => small i (Nat.lt_succ_of_lt hi))
      fun i hi => small' i (Nat.lt_succ_of_lt hi)
    have h2 := Nat.mul_le_mul (small n (Nat.lt_succ_self n)) (small' n (Nat.lt_succ_self n))
    unfold natDot
    rw [Nat.succ_mul]
    exact Nat.add_le_add h1 h2

private theorem product_digits (width largest n : Nat) (e f : Nat → Nat)
    (small : ∀ i, i < n + 1 → e i ≤ largest) (small' : ∀ i, i < n + 1 → f i ≤ largest) :
    ∃ low high, packForward width (n + 1) e * packBackward width (n + 1) f =
        low + 2 ^ (width * n) * (natDot (n + 1) e f + 2 ^ width * high) ∧
      low ≤ n * (largest * largest) * ones (2 ^ width) n := by
  induction n with
  | zero =>
    refine ⟨0, 0, ?_, Nat.zero_le _⟩
    simp [packForward, packBackward, natDot]
  | succ n ih =>
    obtain ⟨low, high, product_eq, low_le⟩ := ih (fun i hi => small i (Nat.lt_succ_of_lt hi))
      fun i hi => small' i (Nat.lt_succ_of_lt hi)
    refine ⟨2 ^ width * low + packForward width (n + 1) e * f (n + 1),
      high + e (n + 1) * packBackward width (n + 1) f, ?_, ?_⟩
    · have e1 : packForward width (n + 2) e =
          packForward width (n + 1) e + e (n + 1) * 2 ^ (width * (n + 1)) := rfl
      have e2 : packBackward width (n + 2) f =
          2 ^ width * packBackward width (n + 1) f + f (n + 1) := rfl
      have e3 : natDot (n + 2) e f = natDot (n + 1) e f + e (n + 1) * f (n + 1) := rfl
      have e4 : 2 ^ (width * (n + 1)) = 2 ^ (width * n) * 2 ^ width := by
        rw [← Nat.pow_add, Nat.mul_succ]
      rw [e1, e2, e3, e4]
      generalize packForward width (n + 1) e = F at *
      generalize packBackward width (n + 1) f = G at *
      generalize natDot (n + 1) e f = d at *
      generalize 2 ^ (width * n) = P at *
      generalize 2 ^ width = B at *
      clear low_le small small'
      grind
    · have h1 := packForward_le width largest (n + 1) e fun i hi => small i (Nat.lt_succ_of_lt hi)
      have h2 := Nat.mul_le_mul h1 (small' (n + 1) (Nat.lt_succ_self _))
      have h3 := Nat.mul_le_mul_left (2 ^ width) low_le
      have e1 : ones (2 ^ width) (n + 1) = 2 ^ width * ones (2 ^ width) n + 1 := rfl
      have e2 : 2 ^ width * (n * (largest * largest) * ones (2 ^ width) n) +
          n * (largest * largest) = n * (largest * largest) * ones (2 ^ width) (n + 1) := by
        rw [e1]
        grind
      have e3 : (n + 1) * (largest * largest) * ones (2 ^ width) (n + 1) =
          n * (largest * largest) * ones (2 ^ width) (n + 1) +
            largest * ones (2 ^ width) (n + 1) * largest := by grind
      rw [e3]
      omega

/-- The middle digit of the product is the inner product, when digits are wide enough.

Python: none (integer arithmetic inside Lean) -/
theorem packedDot_eq (width largest n : Nat) (e f : Nat → Nat)
    (small : ∀ i, i < n + 1 → e i ≤ largest) (small' : ∀ i, i < n + 1 → f i ≤ largest)
    (wide : (n + 1) * (largest * largest) < 2 ^ width) :
    packedDot width n (packForward width (n + 1) e) (packBackward width (n + 1) f) =
      natDot (n + 1) e f := by
  obtain ⟨low, high, product_eq, low_le⟩ := product_digits width largest n e f small small'
  have dot_lt := Nat.lt_of_le_of_lt (natDot_le largest (n + 1) e f small small') wide
  have low_lt : low < 2 ^ (width * n) := by
    have h1 : n * (largest * largest) + 1 ≤ 2 ^ width := by
      rw [Nat.succ_mul] at wide
      omega
    have h2 := Nat.mul_le_mul_right (ones (2 ^ width) n) h1
    rw [Nat.succ_mul] at h2
    have h3 := ones_bound (2 ^ width) n
    rw [Nat.pow_mul]
    omega
  show packForward width (n + 1) e * packBackward width (n + 1) f / 2 ^ (width * n) % 2 ^ width = _
  rw [product_eq, Nat.add_mul_div_left _ _ (Nat.pow_pos (by decide)), Nat.div_eq_of_lt low_lt,
    Nat.zero_add, Nat.add_mul_mod_self_left, Nat.mod_eq_of_lt dot_lt]

private theorem natBounded_le {largest n : Nat} {e : Nat → Nat}
    (h : natBounded largest n e = true) : ∀ i, i < n → e i ≤ largest := by
  induction n with
  | zero => intro i hi; exact absurd hi (Nat.not_lt_zero i)
  | succ n ih =>
    simp only [natBounded, Bool.and_eq_true, Nat.ble_eq] at h
    intro i hi
    by_cases hin : i = n
    · rw [hin]; exact h.1
    · exact ih h.2 i (by omega)

end Integers

section Field

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

private theorem cast_natDot (n : Nat) (e f : Nat → Nat) :
    ((natDot n e f : Nat) : α) = sum fun i : Fin n => ((e i.val : Nat) : α) * ((f i.val : Nat) : α) := by
  induction n with
  | zero => exact Semiring.natCast_zero
  | succ n ih =>
    rw [sum_castSucc]
    unfold natDot
    rw [Semiring.natCast_add, Semiring.natCast_mul, ih]
    rfl

private theorem cast_natTotal (n : Nat) (e : Nat → Nat) :
    ((natTotal n e : Nat) : α) = sum fun i : Fin n => ((e i.val : Nat) : α) := by
  induction n with
  | zero => exact Semiring.natCast_zero
  | succ n ih =>
    rw [sum_castSucc]
    show ((natTotal n e + e n : Nat) : α) = _
    rw [Semiring.natCast_add, ih]
    rfl

private theorem shifted_dot (n : Nat) (e f : Nat → Nat) (unit o : α) :
    (sum fun i : Fin n => unit * (((e i.val : Nat) : α) - o) * (unit * (((f i.val : Nat) : α) - o))) =
      unit * unit * (((natDot n e f : Nat) : α) + (n : α) * (o * o) -
        o * (((natTotal n e : Nat) : α) + ((natTotal n f : Nat) : α))) := by
  rw [cast_natDot, cast_natTotal, cast_natTotal, ← sum_const, ← sum_add, ← sum_add,
    ← sum_mul_left, ← sum_sub, ← sum_mul_left]
  exact sum_congr fun i => by grind

section Decidable

variable [DecidableLE α]

private theorem cast_distance (a b : Nat) :
    absVal (((a : Nat) : α) - ((b : Nat) : α)) = ((a - b + (b - a) : Nat) : α) := by
  rcases Nat.le_total a b with h | h
  · obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le h
    have e : a - (a + d) + (a + d - a) = d := by omega
    have e2 : ((a : Nat) : α) - ((a + d : Nat) : α) = -((d : Nat) : α) := by
      rw [Semiring.natCast_add]
      grind
    rw [e, e2, absVal_neg, absVal_of_nonneg (natCast_nonneg d)]
  · obtain ⟨d, rfl⟩ := Nat.exists_eq_add_of_le h
    have e : b + d - b + (b - (b + d)) = d := by omega
    have e2 : ((b + d : Nat) : α) - ((b : Nat) : α) = ((d : Nat) : α) := by
      rw [Semiring.natCast_add]
      grind
    rw [e, e2, absVal_of_nonneg (natCast_nonneg d)]

private theorem gram_abs {width n largest offset : Nat} {unit : α} {columns : List PackedColumn}
    (wide : (n + 1) * (largest * largest) < 2 ^ width)
    (sound : ∀ c ∈ columns, packedColumnCheck width n largest c = true)
    (i j : Fin columns.length) :
    absVal (gram (packedMatrix width offset unit columns (m := n + 1)) i j) =
      unit * unit * ((packedGramAbs width n offset columns[i] columns[j] : Nat) : α) := by
  have hi : packedColumnCheck width n largest columns[i] = true := sound _ (List.getElem_mem i.isLt)
  have hj : packedColumnCheck width n largest columns[j] = true := sound _ (List.getElem_mem j.isLt)
  simp only [packedColumnCheck, Bool.and_eq_true, Nat.ble_eq, Nat.beq_eq] at hi hj
  have dot_eq := packedDot_eq width largest n (packedEntry width columns[i].forward)
    (packedEntry width columns[j].forward) (natBounded_le hi.2.1) (natBounded_le hj.2.1) wide
  have fits : columns[i].forward < 2 ^ (width * (n + 1)) := hi.1
  rw [packForward_entries, Nat.mod_eq_of_lt fits, hj.2.2.1] at dot_eq
  have e : gram (packedMatrix width offset unit columns (m := n + 1)) i j =
      unit * unit * (((packedDot width n columns[i].forward columns[j].backward +
          (n + 1) * (offset * offset) : Nat) : α) -
        ((offset * (columns[i].total + columns[j].total) : Nat) : α)) := by
    have h := shifted_dot (n + 1) (packedEntry width columns[i].forward)
      (packedEntry width columns[j].forward) unit ((offset : Nat) : α)
    have ti : natTotal (n + 1) (packedEntry width columns[i].forward) = columns[i].total := hi.2.2.2
    have tj : natTotal (n + 1) (packedEntry width columns[j].forward) = columns[j].total := hj.2.2.2
    rw [ti, tj, ← dot_eq] at h
    have c1 : ((packedDot width n columns[i].forward columns[j].backward +
        (n + 1) * (offset * offset) : Nat) : α) =
          ((packedDot width n columns[i].forward columns[j].backward : Nat) : α) +
            ((n + 1 : Nat) : α) * (((offset : Nat) : α) * ((offset : Nat) : α)) := by
      rw [Semiring.natCast_add, Semiring.natCast_mul, Semiring.natCast_mul]
    have c2 : ((offset * (columns[i].total + columns[j].total) : Nat) : α) =
        ((offset : Nat) : α) * (((columns[i].total : Nat) : α) + ((columns[j].total : Nat) : α)) := by
      rw [Semiring.natCast_mul, Semiring.natCast_add]
    rw [c1, c2]
    exact h
  rw [e, absVal_mul, absVal_of_nonneg (mul_self_nonneg unit), cast_distance]
  rfl

private theorem cast_gramRow {width n offset : Nat} (c : PackedColumn) (columns : List PackedColumn) :
    ((packedGramRow width n offset c columns : Nat) : α) =
      sum fun j : Fin columns.length => ((packedGramAbs width n offset c columns[j] : Nat) : α) := by
  induction columns with
  | nil => exact Semiring.natCast_zero
  | cons d rest ih =>
    show ((packedGramAbs width n offset c d + packedGramRow width n offset c rest : Nat) : α) = _
    rw [Semiring.natCast_add, ih]
    rfl

private theorem sum_castAdd_le {m p : Nat} {f : Fin (m + p) → α} (nonneg : ∀ i, 0 ≤ f i) :
    (sum fun i : Fin m => f (Fin.castAdd p i)) ≤ sum f := by
  induction p with
  | zero => exact Std.le_refl _
  | succ p ih =>
    have h := ih (f := fun i => f (Fin.castSucc i)) fun i => nonneg _
    have h1 := nonneg (Fin.last (m + p))
    have e : sum f = (sum fun i : Fin (m + p) => f i.castSucc) + f (Fin.last (m + p)) :=
      sum_castSucc f
    rw [e]
    refine Std.le_trans h ?_
    clear nonneg ih
    grind

/-- Packed columns whose check passes, for a matrix `A` of `m` rows with a factor below it, prove
that `c` bounds the operator norm of `A`: every row of absolute values of the Gram matrix sums to
at most `total`, and the square of the unit times `total` is at most `c * c`.

Python: none (integer arithmetic inside Lean) -/
theorem opNorm2Le_of_packedSpectral {width n m p largest offset total : Nat} {unit c : α}
    {columns : List PackedColumn} (rows_eq : n + 1 = m + p)
    (wide : (n + 1) * (largest * largest) < 2 ^ width)
    (sound : ∀ d ∈ columns, packedColumnCheck width n largest d = true)
    (row_le : ∀ d ∈ columns, Nat.ble (packedGramRow width n offset d columns) total = true)
    (c_nonneg : 0 ≤ c) (total_le : unit * unit * ((total : Nat) : α) ≤ c * c) :
    OpNorm2Le (packedMatrix width offset unit columns (m := m)) c := by
  have row : ∀ i, (sum fun j => absVal (gram
      (packedMatrix width offset unit columns (m := n + 1)) i j)) ≤ unit * unit * ((total : Nat) : α) := by
    intro i
    have h1 : (sum fun j => absVal (gram
        (packedMatrix width offset unit columns (m := n + 1)) i j)) =
          unit * unit * ((packedGramRow width n offset columns[i] columns : Nat) : α) := by
      rw [cast_gramRow, ← sum_mul_left]
      exact sum_congr fun j => gram_abs wide sound i j
    rw [h1]
    have h2 := row_le _ (List.getElem_mem i.isLt)
    rw [Nat.ble_eq] at h2
    exact mul_le_mul_left (mul_self_nonneg unit) (natCast_le_natCast h2)
  have r_nonneg : 0 ≤ unit * unit * ((total : Nat) : α) :=
    mul_nonneg (mul_self_nonneg unit) (natCast_nonneg total)
  have symmetric : ∀ i j, gram (packedMatrix width offset unit columns (m := n + 1)) i j =
      gram (packedMatrix width offset unit columns (m := n + 1)) j i := fun i j => dot_comm _ _
  have gram_le : OpNorm2Le (gram (packedMatrix width offset unit columns (m := n + 1)))
      (unit * unit * ((total : Nat) : α)) :=
    opNorm2Le_of_schur r_nonneg row
      (fun j => by rw [sum_congr fun i => congrArg absVal (symmetric i j)]; exact row j)
      r_nonneg r_nonneg (Std.le_refl _)
  have stacked := opNorm2Le_of_gram c_nonneg gram_le total_le
  refine ⟨c_nonneg, fun x => Std.le_trans ?_ (stacked.2 x)⟩
  clear stacked gram_le row symmetric
  unfold normSq dot
  rw [rows_eq]
  exact sum_castAdd_le (f := fun i => mulVec (packedMatrix width offset unit columns) x i *
    mulVec (packedMatrix width offset unit columns) x i) fun i => mul_self_nonneg _

end Decidable

end Field

section Examples

/-- `A = [[3, 0], [0, 4]]` above `L = [[2, 0], [0, 0]]`, entries stored with the offset 1 in digits of
eight bits: the columns of the stack are `(3, 0, 2, 0)` and `(0, 4, 0, 0)`. -/
private abbrev stack : List PackedColumn :=
  [⟨0x01030104, 0x04010301, 9⟩, ⟨0x01010501, 0x01050101, 8⟩]

example : packedEntry 8 0x01030104 0 = 4 := by decide +kernel
example : packForward 8 4 (packedEntry 8 0x01030104) = 0x01030104 := by decide +kernel
example : packBackward 8 4 (packedEntry 8 0x01030104) = 0x04010301 := by decide +kernel
example : natTotal 4 (packedEntry 8 0x01030104) = 9 := by decide +kernel
example : natDot 4 (packedEntry 8 0x01030104) (packedEntry 8 0x01010501) = 13 := by decide +kernel
example : packedDot 8 3 0x01030104 0x01050101 = 13 := by decide +kernel
example : packedGramAbs 8 3 1 ⟨0x01030104, 0x04010301, 9⟩ ⟨0x01030104, 0x04010301, 9⟩ = 13 := by
  decide +kernel
example : packedGramRow 8 3 1 ⟨0x01010501, 0x01050101, 8⟩ stack = 16 := by decide +kernel
example : natBounded 5 4 (packedEntry 8 0x01010501) = true := by decide +kernel
example : packedColumnCheck 8 3 5 ⟨0x01010501, 0x01050101, 9⟩ = false := by decide +kernel
example : packedDot 8 3 (packForward 8 4 fun _ => 2) (packBackward 8 4 fun _ => 3) =
    natDot 4 (fun _ => 2) fun _ => 3 :=
  packedDot_eq 8 3 3 (fun _ => 2) (fun _ => 3) (by decide) (by decide) (by decide)
example : OpNorm2Le (packedMatrix 8 1 (1 : Rat) stack (m := 2)) 4 :=
  opNorm2Le_of_packedSpectral (n := 3) (p := 2) (largest := 5) (total := 16) rfl (by decide)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)

end Examples

end PeelVerify
