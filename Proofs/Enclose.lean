module

public import Proofs.Matrix
public import Proofs.Rounding

/-!
# Enclosures from computed numbers

Bounds on norms and inner products that survive rounding: a spectral certificate whose residual is
known only up to a slack, lower bounds from one vector, inner products of rounded differences, and
the norms that are read off rows and columns.

## Main results

* `DiagonallyDominant.of_close`, `opNorm2Le_of_computed_certificate`: a computed residual proves an
  upper bound when its dominance leaves room for its error.
* `le_of_opNorm2Le`: every vector gives a lower bound.
* `dot_error_of_rounded_factors`, `signed_enclosure`: inner products of rounded differences.
* `normInf_mulVec_le`, `norm1_mulVec_le`: largest row sum and largest column sum.

## Assumptions

A linearly ordered field with decidable order.

## References

S. Rump, Verification methods: rigorous results using floating-point arithmetic.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u} [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α]
  [OrderedRing α] [DecidableLE α]

section Theorems

/-- A vector that a matrix makes at least `lower` times as long shows that no bound on the
operator norm is below `lower`.

Python: none (peelverify.enclose.norm_op2_lower rests on it) -/
theorem le_of_opNorm2Le {m n : Nat} {A : Fin m → Fin n → α} {c lower : α} (bound : OpNorm2Le A c)
    (x : Fin n → α) (x_ne_zero : 0 < normSq x)
    (witness : lower * lower * normSq x ≤ normSq (mulVec A x)) : lower ≤ c := by
  refine le_of_mul_self_le_mul_self bound.1 (le_of_mul_le_mul_left x_ne_zero ?_)
  have h := Std.le_trans witness (bound.2 x)
  have e1 : normSq x * (lower * lower) = lower * lower * normSq x := by grind
  have e2 : normSq x * (c * c) = c * c * normSq x := by grind
  rw [e1, e2]
  exact h

/-- Scaling a matrix by `a` scales a bound on its operator norm by the absolute value of `a`.

Python: none (powers of two are exact) -/
theorem OpNorm2Le.smul {m n : Nat} {A : Fin m → Fin n → α} {c : α} (a : α)
    (bound : OpNorm2Le A c) : OpNorm2Le (fun i j => a * A i j) (absVal a * c) := by
  refine ⟨mul_nonneg (absVal_nonneg a) bound.1, fun x => ?_⟩
  have e : mulVec (fun i j => a * A i j) x = fun i => a * mulVec A x i :=
    funext fun i => dot_smul_left a (A i) x
  rw [e, normSq_smul]
  have h := mul_le_mul_left (mul_self_nonneg a) (bound.2 x)
  have e2 : absVal a * c * (absVal a * c) * normSq x =
      absVal a * absVal a * (c * c * normSq x) := by grind
  rw [e2, absVal_mul_self]
  exact h

/-- A matrix is diagonally dominant if a nearby matrix is, with room for the distance of the rows.

Python: none (peelverify.enclose.norm_op2_upper rests on it) -/
theorem DiagonallyDominant.of_close {n : Nat} {D D' : Fin n → Fin n → α} {slack : Fin n → α}
    (close : ∀ i, (sum fun j => absVal (D i j - D' i j)) ≤ slack i)
    (dominant : ∀ i, (sum fun j => absVal (D' i j)) + slack i ≤ 2 * D' i i) :
    DiagonallyDominant D := by
  intro i
  have hc := close i
  have hd := dominant i
  clear close dominant
  have h1 : absVal (D i i - D' i i) ≤ sum fun j => absVal (D i j - D' i j) :=
    le_sum (f := fun j => absVal (D i j - D' i j)) (fun j => absVal_nonneg _) i
  have h2 : absVal (D' i i) ≤ sum fun j => absVal (D' i j) :=
    le_sum (f := fun j => absVal (D' i j)) (fun j => absVal_nonneg _) i
  have h3 := le_absVal (D' i i)
  have h4 := neg_le_absVal (D i i - D' i i)
  have h5 := absVal_nonneg (D i i - D' i i)
  have diagonal_nonneg : 0 ≤ D i i := by grind
  have diagonal_nonneg' : 0 ≤ D' i i := by grind
  have term : ∀ j, absVal (D i j) + (if j = i then 2 * D' i i else 0) ≤
      absVal (D' i j) + absVal (D i j - D' i j) + if j = i then 2 * D i i else 0 := by
    intro j
    by_cases e : j = i
    · subst e
      rw [if_pos rfl, if_pos rfl, absVal_of_nonneg diagonal_nonneg,
        absVal_of_nonneg diagonal_nonneg']
      grind
    · rw [if_neg e, if_neg e]
      have h := absVal_add_le (D' i j) (D i j - D' i j)
      have e1 : D' i j + (D i j - D' i j) = D i j := by grind
      rw [e1] at h
      grind
  have total := sum_le_sum term
  rw [sum_add, sum_add, sum_add, sum_ite_eq, sum_ite_eq] at total
  clear term
  grind

/-- A spectral certificate with a computed residual: if `D'` is within `slack` of
`c² I - AᵀA - LᵀL` in each row and dominant with that much room, then `c` bounds the operator norm,
whatever `L` is.

Python: none (peelverify.enclose.norm_op2_upper rests on it) -/
theorem opNorm2Le_of_computed_certificate {m n p : Nat} {A : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {D' : Fin n → Fin n → α} {slack : Fin n → α} {c : α}
    (c_nonneg : 0 ≤ c)
    (close : ∀ i, (sum fun j => absVal (spectralResidual A L c i j - D' i j)) ≤ slack i)
    (dominant : ∀ i, (sum fun j => absVal (D' i j)) + slack i ≤ 2 * D' i i) : OpNorm2Le A c :=
  opNorm2Le_of_spectral_certificate (L := L) (D := spectralResidual A L c) c_nonneg
    (fun i j => by unfold spectralResidual; grind) (DiagonallyDominant.of_close close dominant)

/-- The largest entry of `Ax` is at most the largest absolute row sum times the largest entry of
`x`.

Python: none (peelverify.enclose.norm_opinf_upper rests on it) -/
theorem normInf_mulVec_le {m n : Nat} {A : Fin m → Fin n → α} {r : α}
    (row_sum_le : ∀ i, (sum fun j => absVal (A i j)) ≤ r) (x : Fin n → α) (i : Fin m) :
    absVal (mulVec A x i) ≤ r * normInf x :=
  Std.le_trans (abs_dot_le_norm1_mul_normInf (A i) x)
    (mul_le_mul (row_sum_le i) (Std.le_refl _) (normInf_nonneg x)
      (Std.le_trans (sum_nonneg fun j => absVal_nonneg (A i j)) (row_sum_le i)))

/-- The 1-norm of `Ax` is at most the largest absolute column sum times the 1-norm of `x`.

Python: none (peelverify.enclose.norm_op1_upper rests on it) -/
theorem norm1_mulVec_le {m n : Nat} {A : Fin m → Fin n → α} {k : α}
    (col_sum_le : ∀ j, (sum fun i => absVal (A i j)) ≤ k) (x : Fin n → α) :
    norm1 (mulVec A x) ≤ k * norm1 x := by
  have h1 : norm1 (mulVec A x) ≤ sum fun i => sum fun j => absVal (A i j) * absVal (x j) := by
    refine sum_le_sum fun i => Std.le_trans (absVal_sum_le _) (sum_le_sum fun j => ?_)
    rw [absVal_mul]
    exact Std.le_refl _
  rw [sum_comm] at h1
  refine Std.le_trans h1 ?_
  unfold norm1
  rw [← sum_mul_left]
  refine sum_le_sum fun j => ?_
  rw [sum_mul_right]
  have h := mul_nonneg (absVal_nonneg (x j)) (show 0 ≤ k - sum fun i => absVal (A i j) by
    have := col_sum_le j
    clear col_sum_le h1
    grind)
  clear col_sum_le h1
  grind

/-- Errors of `m` and then `n` roundings put together.

Python: none (supporting lemma) -/
theorem growth_add (unit : α) (m n : Nat) :
    growth unit (m + n) = growth unit m + growth unit n + growth unit m * growth unit n := by
  unfold growth
  rw [Semiring.pow_add]
  grind

/-- The product of two rounded factors has the relative error of all their roundings.

Python: none (used inside the enclosures of sums of products) -/
theorem rounded_product_error {unit a a' b b' : α} (unit_nonneg : 0 ≤ unit) {p q : Nat}
    (left : absVal (a' - a) ≤ growth unit p * absVal a)
    (right : absVal (b' - b) ≤ growth unit q * absVal b) :
    absVal (a' * b' - a * b) ≤ growth unit (p + q) * (absVal a * absVal b) := by
  have e : a' * b' - a * b = (a' - a) * (b' - b) + ((a' - a) * b + a * (b' - b)) := by grind
  have h1 := absVal_add_le ((a' - a) * (b' - b)) ((a' - a) * b + a * (b' - b))
  have h2 := absVal_add_le ((a' - a) * b) (a * (b' - b))
  rw [absVal_mul] at h1
  rw [absVal_mul, absVal_mul] at h2
  have gp := growth_nonneg unit_nonneg p
  have h3 := mul_le_mul left right (absVal_nonneg _) (mul_nonneg gp (absVal_nonneg a))
  have h4 := mul_le_mul left (Std.le_refl (absVal b)) (absVal_nonneg b)
    (mul_nonneg gp (absVal_nonneg a))
  have h5 := mul_le_mul_left (absVal_nonneg a) right
  rw [e, growth_add]
  clear e left right
  grind

/-- An inner product computed from rounded factors, such as differences of states: the roundings of
the factors add to those of the sum.

Python: none (used inside the enclosures of sums of products) -/
theorem dot_error_of_rounded_factors {unit : α} (unit_nonneg : 0 ≤ unit) {n p q : Nat}
    {x y x' y' : Fin n → α} {v underflow : α}
    (left : ∀ i, absVal (x' i - x i) ≤ growth unit p * absVal (x i))
    (right : ∀ i, absVal (y' i - y i) ≤ growth unit q * absVal (y i))
    (computed : absVal (v - dot x' y') ≤
      growth unit n * dot (fun i => absVal (x' i)) (fun i => absVal (y' i)) + underflow) :
    absVal (v - dot x y) ≤
      growth unit (n + (p + q)) * dot (fun i => absVal (x i)) (fun i => absVal (y i)) +
        underflow := by
  have hn := growth_nonneg unit_nonneg n
  have products : absVal (dot x' y' - dot x y) ≤
      growth unit (p + q) * dot (fun i => absVal (x i)) (fun i => absVal (y i)) := by
    unfold dot
    rw [← sum_sub, ← sum_mul_left]
    exact Std.le_trans (absVal_sum_le _)
      (sum_le_sum fun i => rounded_product_error unit_nonneg (left i) (right i))
  have sizes : dot (fun i => absVal (x' i)) (fun i => absVal (y' i)) ≤
      (1 + growth unit (p + q)) * dot (fun i => absVal (x i)) (fun i => absVal (y i)) := by
    unfold dot
    rw [← sum_mul_left]
    refine sum_le_sum fun i => ?_
    have h1 := rounded_product_error unit_nonneg (left i) (right i)
    have h2 := absVal_add_le (x' i * y' i - x i * y i) (x i * y i)
    have e : x' i * y' i - x i * y i + x i * y i = x' i * y' i := by grind
    rw [e, absVal_mul, absVal_mul] at h2
    clear left right computed products e
    grind
  have h1 := mul_le_mul_left hn sizes
  have h2 := absVal_add_le (v - dot x' y') (dot x' y' - dot x y)
  have e : v - dot x' y' + (dot x' y' - dot x y) = v - dot x y := by grind
  rw [e] at h2
  rw [growth_add]
  clear left right e sizes
  grind

/-- A sum of terms of any sign, enclosed from its computed value and the computed sum of the
absolute values of its terms.

Python: none (used inside the enclosures of sums of products) -/
theorem signed_enclosure {exact computed magnitude computedMagnitude relative underflow : α}
    (relative_nonneg : 0 ≤ relative) (relative_lt_one : relative < 1)
    (error : absVal (computed - exact) ≤ relative * magnitude + underflow)
    (magnitude_error :
      absVal (computedMagnitude - magnitude) ≤ relative * magnitude + underflow) :
    absVal (computed - exact) ≤
      relative * nonnegSumUpper computedMagnitude relative underflow + underflow := by
  have h := (nonneg_enclosure relative_nonneg relative_lt_one magnitude_error).2
  have h1 := mul_le_mul_left relative_nonneg h
  grind

end Theorems

section Examples

private abbrev skew : Fin 2 → Fin 2 → Rat := mat [[3, 1], [0, 4]]

example {c : Rat} (h : OpNorm2Le skew c) : 4 ≤ c :=
  le_of_opNorm2Le h (vec [0, 1]) (by decide +kernel) (by decide +kernel)
example {c : Rat} (h : OpNorm2Le skew c) : OpNorm2Le (fun i j => -2 * skew i j) (absVal (-2) * c) :=
  h.smul (-2)
example : DiagonallyDominant (mat [[2, 1], [1, 3]] : Fin 2 → Fin 2 → Rat) :=
  DiagonallyDominant.of_close (D' := mat [[2, 3 / 4], [1, 3]]) (slack := fun _ => 1 / 4)
    (by decide +kernel) (by decide +kernel)
example : OpNorm2Le skew 5 :=
  opNorm2Le_of_computed_certificate (L := (mat [] : Fin 0 → Fin 2 → Rat))
    (D' := mat [[16, -3], [-3, 33 / 4]]) (slack := fun _ => 1 / 2) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : absVal (mulVec skew (vec [1, -2]) 0) ≤ 4 * normInf (vec [1, -2] : Fin 2 → Rat) :=
  normInf_mulVec_le (by decide +kernel) _ 0
example : norm1 (mulVec skew (vec [1, -2])) ≤ 5 * norm1 (vec [1, -2] : Fin 2 → Rat) :=
  norm1_mulVec_le (by decide +kernel) _

example : absVal (9 / 8 * 2 - 1 * 2 : Rat) ≤ growth (1 / 8) (1 + 0) * (absVal 1 * absVal 2) :=
  rounded_product_error (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : absVal (4 - dot (vec [1, 2] : Fin 2 → Rat) (vec [2, 1])) ≤
    growth (1 / 8) (2 + (1 + 0)) * dot (fun i => absVal ((vec [1, 2] : Fin 2 → Rat) i))
      (fun i => absVal ((vec [2, 1] : Fin 2 → Rat) i)) + 0 :=
  dot_error_of_rounded_factors (n := 2) (x := vec [1, 2]) (y := vec [2, 1])
    (x' := vec [9 / 8, 2]) (y' := vec [2, 1]) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : absVal (1 / 8 - 0 : Rat) ≤ 1 / 8 * nonnegSumUpper 2 (1 / 8) 0 + 0 :=
  signed_enclosure (magnitude := 2) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)

end Examples

end PeelVerify
