module

public import Proofs.Matrix

/-!
# Quantisation and factors

What it costs to round weights to a grid and to replace a matrix by a product.

## Main results

* `round_nearest_error`, `clip_error`, `quantize_frobSq_le`: rounding to a grid.
* `layer_error`: a compressed layer on a compressed input.
* `lowRank_error`, `matMul_error`, `cache_score_error`: factors, products and cached keys.

## Assumptions

A linearly ordered field, with decidable order where rounding branches.

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

section Definitions

variable [Field α]

/-- The nearer one of two grid points around `w`, the lower one at a tie.

Python: `peelverify.bounds.compression.nearer_end` -/
def nearerEnd [LE α] [DecidableLE α] (w lower upper : α) : α :=
  if w - lower ≤ upper - w then lower else upper

/-- A number moved into the range between `lower` and `upper`.

Python: `peelverify.bounds.compression.clip` -/
def clip [LE α] [DecidableLE α] (w lower upper : α) : α := maxVal lower (minVal w upper)

/-- The bound on the squared Frobenius error of rounding a matrix whose row `i` has the grid step
`steps i`.

Python: `peelverify.bounds.compression.quantize_frob_sq_upper` -/
def quantizeFrobSqUpper {m : Nat} (steps : Fin m → α) (columns : Nat) : α :=
  sum fun i => (columns : α) * (steps i / 2 * (steps i / 2))

end Definitions

section Rounding

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- The nearer of two grid points around `w` is no further away than half their distance.

Python: `peelverify.bounds.compression.nearer_end` -/
theorem nearerEnd_error {w lower upper : α} (lower_le : lower ≤ w) (le_upper : w ≤ upper) :
    2 * absVal (w - nearerEnd w lower upper) ≤ upper - lower := by
  unfold nearerEnd absVal
  split <;> split <;> grind

/-- Rounding a number between two neighbouring multiples of a step to the nearer one moves it by
at most half a step.

Python: `peelverify.bounds.compression.round_nearest` -/
theorem round_nearest_error {w step k : α} (multiple_le : k * step ≤ w)
    (le_next : w ≤ (k + 1) * step) :
    absVal (w - nearerEnd w (k * step) ((k + 1) * step)) ≤ step / 2 := by
  have h := nearerEnd_error multiple_le le_next
  grind

/-- Clipping puts a number into the range.

Python: `peelverify.bounds.compression.clip` -/
theorem clip_mem {w lower upper : α} (ordered : lower ≤ upper) :
    lower ≤ clip w lower upper ∧ clip w lower upper ≤ upper := by
  refine ⟨le_maxVal_left _ _, maxVal_le ordered (minVal_le_right _ _)⟩

/-- Rounding a clipped number errs by at most the clipped part plus the rounding error.

Python: `peelverify.bounds.compression.clip` -/
theorem clip_error {w q lower upper half : α}
    (rounding : absVal (clip w lower upper - q) ≤ half) :
    absVal (w - q) ≤ absVal (w - clip w lower upper) + half := by
  have h := absVal_add_le (w - clip w lower upper) (clip w lower upper - q)
  have e : w - clip w lower upper + (clip w lower upper - q) = w - q := by grind
  rw [e] at h
  grind

/-- A matrix rounded row by row to grids with the given steps has a squared Frobenius error of at
most the sum over rows of `columns * (step / 2)²`.

Python: `peelverify.bounds.compression.quantize_frob_sq_upper` -/
theorem quantize_frobSq_le {m n : Nat} {W Q : Fin m → Fin n → α} {steps : Fin m → α}
    (rounding : ∀ i j, absVal (W i j - Q i j) ≤ steps i / 2) :
    frobSq (fun i j => W i j - Q i j) ≤ quantizeFrobSqUpper steps n := by
  refine sum_le_sum fun i => sum_le_mul fun j => ?_
  have h := mul_self_le_mul_self (absVal_nonneg _) (rounding i j)
  rw [absVal_mul_self] at h
  exact h

end Rounding

section Factors

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- Replacing a matrix by a compressed one changes its output by at most the operator norm of the
difference times the length of the input.

Python: `peelverify.bounds.compression.weight_error_upper` -/
theorem weight_error {m n : Nat} {W W' : Fin m → Fin n → α} {x : Fin n → α} {eps r : α}
    (weight_close : OpNorm2Le (fun i j => W' i j - W i j) eps) (radius : Norm2Le x r) :
    Norm2Le (fun i => mulVec W' x i - mulVec W x i) (eps * r) := by
  have h := weight_close.norm2Le_mulVec radius
  rw [sub_mulVec] at h
  exact h

/-- A compressed layer on a compressed input: the output error is at most the layer's gain times
the input error plus the weight error times the length of the compressed input.

Python: `peelverify.bounds.compression.layer_error_upper` -/
theorem layer_error {m n : Nat} {W W' : Fin m → Fin n → α} {x x' : Fin n → α} {gain eps e r : α}
    (gain_bound : OpNorm2Le W gain) (weight_close : OpNorm2Le (fun i j => W' i j - W i j) eps)
    (input_close : Norm2Le (fun j => x' j - x j) e) (radius : Norm2Le x' r) :
    Norm2Le (fun i => mulVec W' x' i - mulVec W x i) (gain * e + eps * r) := by
  have h1 := gain_bound.norm2Le_mulVec input_close
  have h2 := (weight_error weight_close radius).add h1
  rw [mulVec_sub] at h2
  have e1 : (fun i => mulVec W' x' i - mulVec W x' i + (mulVec W x' i - mulVec W x i)) =
      fun i => mulVec W' x' i - mulVec W x i := funext fun i => by grind
  have e2 : eps * r + gain * e = gain * e + eps * r := by grind
  rw [e1, e2] at h2
  exact h2

/-- A low-rank product `U V` in place of `W`: truncating `U₀ V` to it costs the sum of the error
of `U₀ V` and the error of truncation.

Python: `peelverify.bounds.matrix.op_norm2_add_upper` -/
theorem lowRank_error {m n p : Nat} {W : Fin m → Fin n → α} {U U0 : Fin m → Fin p → α}
    {V : Fin p → Fin n → α} {a b v : α}
    (factor_error : OpNorm2Le (fun i j => W i j - matMul U0 V i j) a)
    (left_error : OpNorm2Le (fun i k => U0 i k - U i k) b) (right_bound : OpNorm2Le V v) :
    OpNorm2Le (fun i j => W i j - matMul U V i j) (a + b * v) := by
  have h := factor_error.add (left_error.mul right_bound)
  have e : (fun i j => W i j - matMul U0 V i j + matMul (fun i k => U0 i k - U i k) V i j) =
      fun i j => W i j - matMul U V i j := by
    funext i j
    have : matMul (fun i k => U0 i k - U i k) V i j = matMul U0 V i j - matMul U V i j :=
      dot_sub_left _ _ _
    grind
  rw [e] at h
  exact h

/-- Two compressed factors: the error of the product is at most one norm times the other error,
plus the first error times the compressed second norm.

Python: `peelverify.bounds.compression.product_error_upper` -/
theorem matMul_error {m n p : Nat} {A A' : Fin m → Fin n → α} {B B' : Fin n → Fin p → α}
    {a b eA eB : α} (left_bound : OpNorm2Le A a) (right_bound : OpNorm2Le B' b)
    (left_error : OpNorm2Le (fun i k => A' i k - A i k) eA)
    (right_error : OpNorm2Le (fun k j => B' k j - B k j) eB) :
    OpNorm2Le (fun i j => matMul A' B' i j - matMul A B i j) (eA * b + a * eB) := by
  have h := (left_error.mul right_bound).add (left_bound.mul right_error)
  have e : (fun i j => matMul (fun i k => A' i k - A i k) B' i j +
      matMul A (fun k j => B' k j - B k j) i j) =
      fun i j => matMul A' B' i j - matMul A B i j := by
    funext i j
    have h1 : matMul (fun i k => A' i k - A i k) B' i j = matMul A' B' i j - matMul A B' i j :=
      dot_sub_left _ _ _
    have h2 : matMul A (fun k j => B' k j - B k j) i j = matMul A B' i j - matMul A B i j :=
      dot_sub_right _ _ _
    grind
  rw [e] at h
  exact h

/-- A cached key that is off by `eps` changes an attention score by at most the query's length
times `eps`.

Python: `peelverify.bounds.vector.dot_upper` -/
theorem cache_score_error {n : Nat} {query key key' : Fin n → α} {q eps : α}
    (query_bound : Norm2Le query q) (key_close : Norm2Le (fun i => key' i - key i) eps) :
    dot query key' - dot query key ≤ q * eps := by
  rw [← dot_sub_right]
  exact dot_le_of_norm2Le query_bound key_close

end Factors

section Examples

private abbrev features : Fin 2 → Fin 2 → Rat := mat [[1, 1], [1, -1]]

example : nearerEnd (7 / 10 : Rat) 0 1 = 1 := by decide +kernel
example : clip (7 / 2 : Rat) (-1) 1 = 1 := by decide +kernel
example : quantizeFrobSqUpper (vec [1, 1 / 2] : Fin 2 → Rat) 4 = 5 / 4 := by decide +kernel
example : absVal (7 / 10 - nearerEnd (7 / 10 : Rat) (1 * (1 / 2)) ((1 + 1) * (1 / 2))) ≤
    1 / 2 / 2 := round_nearest_error (by decide +kernel) (by decide +kernel)
example : absVal (7 / 2 - 5 / 4 : Rat) ≤ absVal (7 / 2 - clip (7 / 2) (-1) 1) + 1 / 4 :=
  clip_error (by decide +kernel)
example : frobSq (fun i j =>
      features i j - (mat [[1, 3 / 4], [1, -1]] : Fin 2 → Fin 2 → Rat) i j) ≤
    quantizeFrobSqUpper (vec [1 / 2, 1 / 2] : Fin 2 → Rat) 2 :=
  quantize_frobSq_le (by decide +kernel)
example (x : Fin 2 → Rat) (hx : Norm2Le x 3) : Norm2Le (fun i =>
    mulVec (mat [[1, 3 / 4], [1, -1]]) x i - mulVec features x i) (1 / 4 * 3) :=
  weight_error (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)) hx
example : 2 * absVal (7 / 10 - nearerEnd (7 / 10 : Rat) 0 1) ≤ 1 - 0 :=
  nearerEnd_error (by decide +kernel) (by decide +kernel)
example : (-1 : Rat) ≤ clip (7 / 2) (-1) 1 ∧ clip (7 / 2 : Rat) (-1) 1 ≤ 1 :=
  clip_mem (by decide +kernel)
example (x x' : Fin 2 → Rat) (hx : Norm2Le x' 3) (he : Norm2Le (fun j => x' j - x j) 1) :
    Norm2Le (fun i => mulVec (mat [[1, 3 / 4], [1, -1]]) x' i - mulVec features x i)
      (2 * 1 + 1 / 4 * 3) :=
  layer_error (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)) he hx
example : OpNorm2Le (fun i j => features i j -
    matMul (mat [[1], [1]] : Fin 2 → Fin 1 → Rat) (mat [[1, 0]]) i j) (3 / 2 + 0 * 1) :=
  lowRank_error (U0 := mat [[1], [1]]) (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
example : OpNorm2Le (fun i j => matMul (mat [[1, 3 / 4], [1, -1]]) features i j -
    matMul features features i j) (1 / 4 * 2 + 2 * 0) :=
  matMul_error (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
example : dot (vec [3, 4]) (vec [1, 1] : Fin 2 → Rat) -
    dot (vec [3, 4]) (vec [1, 0] : Fin 2 → Rat) ≤ 5 * 1 :=
  cache_score_error (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)

end Examples

end PeelVerify
