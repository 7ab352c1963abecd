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
* `spectral_slack`: how far a computed residual of a spectral certificate can be off.
* `normInf_mulVec_le`, `norm1_mulVec_le`: largest row sum and largest column sum; both are reached.
* `matMul_enclosure`, `FrobLe.residual_of_computed`: enclosed products and residuals.
* `computes_exact_on_grid`: sums of whole multiples of a step that float arithmetic gets exactly.

## Assumptions

A linearly ordered field with decidable order.

## References

S. Rump, Verification methods: rigorous results using floating-point arithmetic.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

attribute [local instance] Semiring.natCast Ring.intCast

universe u

variable {α : Type u} [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α]
  [OrderedRing α] [DecidableLE α]

/-- A calculation whose roundings leave alone the numbers that the format holds.

Python: none (the shape of a calculation) -/
inductive ComputesKeeping (held : α → Prop) : RoundTree α → α → Prop where
  /-- A leaf is exact. -/
  | leaf (x : α) : ComputesKeeping held (.leaf x) x
  /-- A rounding moves only what the format does not hold. -/
  | rnd {eta : α} {t : RoundTree α} {v w : α} (h : ComputesKeeping held t v)
      (keeps : held v → w = v) : ComputesKeeping held (.rnd eta t) w
  /-- An addition is exact until it is rounded. -/
  | add {l r : RoundTree α} {v w : α} (hl : ComputesKeeping held l v)
      (hr : ComputesKeeping held r w) : ComputesKeeping held (.add l r) (v + w)

section Theorems

/-- A vector that a matrix makes at least `lower` times as long shows that no bound on the
operator norm is below `lower`.

Python: `peelverify.enclose.operator.norm_op2_lower` -/
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

Python: `peelverify.enclose.operator.norm_op2_upper` -/
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

Python: `peelverify.enclose.operator.norm_op2_upper` -/
theorem opNorm2Le_of_computed_certificate {m n p : Nat} {A : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {D' : Fin n → Fin n → α} {slack : Fin n → α} {c : α}
    (c_nonneg : 0 ≤ c)
    (close : ∀ i, (sum fun j => absVal (spectralResidual A L c i j - D' i j)) ≤ slack i)
    (dominant : ∀ i, (sum fun j => absVal (D' i j)) + slack i ≤ 2 * D' i i) : OpNorm2Le A c :=
  opNorm2Le_of_spectral_certificate (L := L) (D := spectralResidual A L c) c_nonneg
    (fun i j => by unfold spectralResidual; grind) (DiagonallyDominant.of_close close dominant)

/-- The largest entry of `Ax` is at most the largest absolute row sum times the largest entry of
`x`.

Python: `peelverify.enclose.sums.norm_opinf_upper` -/
theorem normInf_mulVec_le {m n : Nat} {A : Fin m → Fin n → α} {r : α}
    (row_sum_le : ∀ i, (sum fun j => absVal (A i j)) ≤ r) (x : Fin n → α) (i : Fin m) :
    absVal (mulVec A x i) ≤ r * normInf x :=
  Std.le_trans (abs_dot_le_norm1_mul_normInf (A i) x)
    (mul_le_mul (row_sum_le i) (Std.le_refl _) (normInf_nonneg x)
      (Std.le_trans (sum_nonneg fun j => absVal_nonneg (A i j)) (row_sum_le i)))

/-- The 1-norm of `Ax` is at most the largest absolute column sum times the 1-norm of `x`.

Python: `peelverify.enclose.sums.norm_op1_upper` -/
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

Python: `peelverify.enclose.frobenius.error_sq` -/
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

Python: `peelverify.enclose.frobenius.inner_of_differences` -/
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

Python: `peelverify.enclose.frobenius.product_slack` -/
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

/-- Partial sums of terms that are not negative, each computed with its own errors and then added
exactly, enclose the whole sum.

Python: `peelverify.enclose.frobenius.sum_sq` -/
theorem partial_sums_enclosure {k : Nat} {part computed : Fin k → α} {relative underflow : α}
    (relative_nonneg : 0 ≤ relative) (relative_lt_one : relative < 1)
    (error : ∀ i, absVal (computed i - part i) ≤ relative * part i + underflow) :
    nonnegSumLower (sum computed) relative ((k : α) * underflow) ≤ sum part ∧
      sum part ≤ nonnegSumUpper (sum computed) relative ((k : α) * underflow) :=
  nonneg_enclosure relative_nonneg relative_lt_one (partial_sums_error error)

/-- An inner product is at most its computed value plus the slack from the computed sum of
magnitudes.

Python: `peelverify.enclose.frobenius.inner_upper` -/
theorem dot_le_of_computed {n : Nat} {x y : Fin n → α}
    {computed computedMagnitude relative underflow : α} (relative_nonneg : 0 ≤ relative)
    (relative_lt_one : relative < 1)
    (error : absVal (computed - dot x y) ≤
      relative * dot (fun i => absVal (x i)) (fun i => absVal (y i)) + underflow)
    (magnitude_error :
      absVal (computedMagnitude - dot (fun i => absVal (x i)) (fun i => absVal (y i))) ≤
        relative * dot (fun i => absVal (x i)) (fun i => absVal (y i)) + underflow) :
    dot x y ≤ computed +
      (relative * nonnegSumUpper computedMagnitude relative underflow + underflow) := by
  have h := signed_enclosure relative_nonneg relative_lt_one error magnitude_error
  rw [absVal_le_iff] at h
  grind

/-- An inner product is at least its computed value minus the slack from the computed sum of
magnitudes.

Python: `peelverify.enclose.frobenius.inner_lower` -/
theorem le_dot_of_computed {n : Nat} {x y : Fin n → α}
    {computed computedMagnitude relative underflow : α} (relative_nonneg : 0 ≤ relative)
    (relative_lt_one : relative < 1)
    (error : absVal (computed - dot x y) ≤
      relative * dot (fun i => absVal (x i)) (fun i => absVal (y i)) + underflow)
    (magnitude_error :
      absVal (computedMagnitude - dot (fun i => absVal (x i)) (fun i => absVal (y i))) ≤
        relative * dot (fun i => absVal (x i)) (fun i => absVal (y i)) + underflow) :
    computed - (relative * nonnegSumUpper computedMagnitude relative underflow + underflow) ≤
      dot x y := by
  have h := signed_enclosure relative_nonneg relative_lt_one error magnitude_error
  rw [absVal_le_iff] at h
  grind

/-- A number whose square is enclosed lies between every lower and every upper root of the ends.

Python: `peelverify.enclose.frobenius.root` -/
theorem root_between {r low high lower upper : α} (r_nonneg : 0 ≤ r) (upper_nonneg : 0 ≤ upper)
    (low_le : low ≤ r * r) (le_high : r * r ≤ high) (lower_sq_le : lower * lower ≤ low)
    (le_upper_sq : high ≤ upper * upper) : lower ≤ r ∧ r ≤ upper :=
  ⟨le_of_mul_self_le_mul_self r_nonneg (Std.le_trans lower_sq_le low_le),
    le_of_mul_self_le_mul_self upper_nonneg (Std.le_trans le_high le_upper_sq)⟩

private theorem gram_row_sum_le {m n : Nat} {A : Fin m → Fin n → α} {norm : Fin n → α}
    (column_norms : ∀ j, Norm2Le (fun k => A k j) (norm j)) (i : Fin n) :
    (sum fun j => dot (fun k => absVal (A k i)) fun k => absVal (A k j)) ≤ norm i * sum norm := by
  have abs_norm : ∀ j, Norm2Le (fun k => absVal (A k j)) (norm j) := by
    intro j
    refine ⟨(column_norms j).1, ?_⟩
    have e : normSq (fun k => absVal (A k j)) = normSq (fun k => A k j) :=
      sum_congr fun k => absVal_mul_self (A k j)
    rw [e]
    exact (column_norms j).2
  rw [← sum_mul_left]
  exact sum_le_sum fun j => dot_le_of_norm2Le (abs_norm i) (abs_norm j)

/-- How far a computed residual of a spectral certificate is from the exact one, row by row: the
errors of both computed products, by the norms of the columns, the errors of the subtractions, and
the underflow terms of a whole row.

Python: `peelverify.enclose.operator.certificate_slack` -/
theorem spectral_slack {m n p : Nat} {A : Fin m → Fin n → α} {L : Fin p → Fin n → α}
    {G P D : Fin n → Fin n → α} {gramNorm factorNorm subtraction : Fin n → α}
    {square gramRelative factorRelative gramUnderflow factorUnderflow : α}
    (gram_relative_nonneg : 0 ≤ gramRelative) (factor_relative_nonneg : 0 ≤ factorRelative)
    (gram_norms : ∀ j, Norm2Le (fun k => A k j) (gramNorm j))
    (factor_norms : ∀ j, Norm2Le (fun k => L k j) (factorNorm j))
    (gram_close : ∀ i j, absVal (G i j - gram A i j) ≤
      gramRelative * dot (fun k => absVal (A k i)) (fun k => absVal (A k j)) + gramUnderflow)
    (factor_close : ∀ i j, absVal (P i j - gram L i j) ≤
      factorRelative * dot (fun k => absVal (L k i)) (fun k => absVal (L k j)) + factorUnderflow)
    (subtracted : ∀ i, (sum fun j =>
      absVal ((if i = j then square else 0) - G i j - P i j - D i j)) ≤ subtraction i)
    (i : Fin n) :
    (sum fun j => absVal ((if i = j then square else 0) - gram A i j - gram L i j - D i j)) ≤
      gramRelative * gramNorm i * sum gramNorm + factorRelative * factorNorm i * sum factorNorm +
        subtraction i + (n : α) * (gramUnderflow + factorUnderflow) := by
  have term : ∀ j, absVal ((if i = j then square else 0) - gram A i j - gram L i j - D i j) ≤
      gramRelative * dot (fun k => absVal (A k i)) (fun k => absVal (A k j)) +
        factorRelative * dot (fun k => absVal (L k i)) (fun k => absVal (L k j)) +
        absVal ((if i = j then square else 0) - G i j - P i j - D i j) +
        (gramUnderflow + factorUnderflow) := by
    intro j
    have h1 := gram_close i j
    have h2 := factor_close i j
    have h3 := absVal_add_le ((if i = j then square else 0) - G i j - P i j - D i j)
      (G i j - gram A i j + (P i j - gram L i j))
    have h4 := absVal_add_le (G i j - gram A i j) (P i j - gram L i j)
    have e : (if i = j then square else 0) - G i j - P i j - D i j +
        (G i j - gram A i j + (P i j - gram L i j)) =
        (if i = j then square else 0) - gram A i j - gram L i j - D i j := by
      clear h1 h2 h3 h4 gram_close factor_close subtracted gram_norms factor_norms
      grind
    rw [e] at h3
    clear e gram_close factor_close subtracted gram_norms factor_norms
    grind
  have total := sum_le_sum term
  rw [sum_add, sum_add, sum_add, sum_mul_left, sum_mul_left, sum_const] at total
  have h1 := mul_le_mul_left gram_relative_nonneg (gram_row_sum_le gram_norms i)
  have h2 := mul_le_mul_left factor_relative_nonneg (gram_row_sum_le factor_norms i)
  have h3 := subtracted i
  clear term gram_close factor_close subtracted gram_norms factor_norms
  grind

/-- A spectral certificate for a rounded square: if `D` is within `slack` of
`square I - AᵀA - LᵀL` in each row, and dominant with that much room, then every `c` with
`square ≤ c²` bounds the operator norm, whatever `L` is.

Python: `peelverify.enclose.operator.norm_op2_upper` -/
theorem opNorm2Le_of_rounded_certificate {m n p : Nat} {A : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {D : Fin n → Fin n → α} {slack : Fin n → α} {square c : α}
    (c_nonneg : 0 ≤ c) (square_le : square ≤ c * c)
    (close : ∀ i, (sum fun j =>
      absVal ((if i = j then square else 0) - gram A i j - gram L i j - D i j)) ≤ slack i)
    (dominant : ∀ i, (sum fun j => absVal (D i j)) + slack i ≤ 2 * D i i) : OpNorm2Le A c := by
  refine opNorm2Le_of_computed_certificate (L := L) (slack := slack)
    (D' := fun i j => D i j + if j = i then c * c - square else 0) c_nonneg ?_ ?_
  · intro i
    have e : (sum fun j => absVal (spectralResidual A L c i j -
        (D i j + if j = i then c * c - square else 0))) = sum fun j =>
        absVal ((if i = j then square else 0) - gram A i j - gram L i j - D i j) := by
      refine sum_congr fun j => ?_
      unfold spectralResidual
      by_cases e : i = j
      · rw [if_pos e, if_pos e, if_pos e.symm]
        exact congrArg absVal (by clear close dominant; grind)
      · rw [if_neg e, if_neg e, if_neg (Ne.symm e)]
        exact congrArg absVal (by clear close dominant; grind)
    rw [e]
    exact close i
  · intro i
    have term : ∀ j, absVal (D i j + if j = i then c * c - square else 0) ≤
        absVal (D i j) + if j = i then c * c - square else 0 := by
      intro j
      have h := absVal_add_le (D i j) (if j = i then c * c - square else 0)
      have e : absVal (if j = i then c * c - square else 0) =
          if j = i then c * c - square else 0 := by
        refine absVal_of_nonneg ?_
        split
        · clear close dominant h; grind
        · exact Std.le_refl _
      rw [e] at h
      exact h
    have total := sum_le_sum term
    rw [sum_add, sum_ite_eq] at total
    have h := dominant i
    have e : (if i = i then c * c - square else 0) = c * c - square := if_pos rfl
    show (sum fun j => absVal (D i j + if j = i then c * c - square else 0)) + slack i ≤
      2 * (D i i + if i = i then c * c - square else 0)
    rw [e]
    clear term close dominant e
    grind

/-- A column whose absolute values sum to more than `k` refutes `k` as a bound on the operator norm
for the 1-norm.

Python: `peelverify.enclose.sums.norm_op1_lower` -/
theorem columnSum_le_of_bound {m n : Nat} {A : Fin m → Fin n → α} {k : α}
    (bound : ∀ x, norm1 (mulVec A x) ≤ k * norm1 x) (j : Fin n) :
    (sum fun i => absVal (A i j)) ≤ k := by
  have h := bound fun l => if l = j then 1 else 0
  have column : ∀ i, mulVec A (fun l => if l = j then 1 else 0) i = A i j := by
    intro i
    unfold mulVec dot
    have e : (sum fun l => A i l * if l = j then 1 else 0) =
        sum fun l => if l = j then A i j else 0 := by
      refine sum_congr fun l => ?_
      by_cases e : l = j
      · rw [if_pos e, if_pos e, e]; clear bound h; grind
      · rw [if_neg e, if_neg e]; clear bound h; grind
    rw [e, sum_ite_eq]
  have one : norm1 (fun l => if l = j then (1 : α) else 0) = 1 := by
    unfold norm1
    have e : (sum fun l => absVal (if l = j then (1 : α) else 0)) =
        sum fun l => if l = j then (1 : α) else 0 := by
      refine sum_congr fun l => absVal_of_nonneg ?_
      split
      · have := mul_self_nonneg (1 : α); clear bound h column; grind
      · exact Std.le_refl _
    rw [e, sum_ite_eq]
  rw [one] at h
  unfold norm1 at h
  have e : (sum fun i => absVal (mulVec A (fun l => if l = j then 1 else 0) i)) =
      sum fun i => absVal (A i j) := sum_congr fun i => by rw [column i]
  rw [e] at h
  clear bound column one e
  grind

/-- A row whose absolute values sum to more than `r` refutes `r` as a bound on the operator norm
for the largest entry.

Python: `peelverify.enclose.sums.norm_opinf_lower` -/
theorem rowSum_le_of_bound {m n : Nat} {A : Fin m → Fin n → α} {r : α} (r_nonneg : 0 ≤ r)
    (bound : ∀ x i, absVal (mulVec A x i) ≤ r * normInf x) (i : Fin m) :
    (sum fun j => absVal (A i j)) ≤ r := by
  have h := bound (fun j => if 0 ≤ A i j then 1 else -1) i
  have row : mulVec A (fun j => if 0 ≤ A i j then 1 else -1) i = sum fun j => absVal (A i j) := by
    unfold mulVec dot
    refine sum_congr fun j => ?_
    unfold absVal
    split <;> (clear bound h; grind)
  have small : ∀ {k : Nat} (f : Fin k → α),
      normInf (fun j => if 0 ≤ f j then (1 : α) else -1) ≤ 1 := by
    intro k
    have one := mul_self_nonneg (1 : α)
    induction k with
    | zero => intro f; unfold normInf; clear bound h row; grind
    | succ k ih =>
      intro f
      unfold normInf
      refine maxVal_le ?_ (ih fun j => f j.succ)
      show absVal (if 0 ≤ f 0 then (1 : α) else -1) ≤ 1
      rw [absVal_le_iff]
      clear bound h row ih
      split <;> grind
  rw [row] at h
  have h1 := le_absVal (sum fun j => absVal (A i j))
  have h2 := mul_le_mul_left r_nonneg (small (A i))
  clear bound row small
  grind

/-- No entry is larger than a bound on the spectral norm.

Python: `peelverify.enclose.sums.norm_max_lower` -/
theorem absVal_le_of_opNorm2Le {m n : Nat} {A : Fin m → Fin n → α} {c : α} (bound : OpNorm2Le A c)
    (i : Fin m) (j : Fin n) : absVal (A i j) ≤ c := by
  have one := mul_self_nonneg (1 : α)
  have unit : normSq (fun l => if l = j then (1 : α) else 0) = 1 := by
    unfold normSq dot
    have e : (sum fun l => (if l = j then (1 : α) else 0) * if l = j then 1 else 0) =
        sum fun l => if l = j then (1 : α) else 0 := by
      refine sum_congr fun l => ?_
      clear bound one
      split <;> grind
    rw [e, sum_ite_eq]
  have column : ∀ i, mulVec A (fun l => if l = j then 1 else 0) i = A i j := by
    intro i
    unfold mulVec dot
    have e : (sum fun l => A i l * if l = j then 1 else 0) =
        sum fun l => if l = j then A i j else 0 := by
      refine sum_congr fun l => ?_
      by_cases e : l = j
      · rw [if_pos e, if_pos e, e]; clear bound unit one; grind
      · rw [if_neg e, if_neg e]; clear bound unit one; grind
    rw [e, sum_ite_eq]
  refine le_of_opNorm2Le bound (fun l => if l = j then 1 else 0) ?_ ?_
  · rw [unit]; clear bound column unit; grind
  · rw [unit, absVal_mul_self]
    have h : mulVec A (fun l => if l = j then 1 else 0) i *
        mulVec A (fun l => if l = j then 1 else 0) i ≤
        normSq (mulVec A fun l => if l = j then 1 else 0) :=
      le_sum (f := fun i => mulVec A (fun l => if l = j then 1 else 0) i *
        mulVec A (fun l => if l = j then 1 else 0) i) (fun i => mul_self_nonneg _) i
    rw [column i] at h
    clear bound column unit one
    grind

/-- No entry is larger than a bound on the Frobenius norm.

Python: `peelverify.enclose.sums.norm_max_upper` -/
theorem absVal_le_of_frobLe {m n : Nat} {A : Fin m → Fin n → α} {c : α} (bound : FrobLe A c)
    (i : Fin m) (j : Fin n) : absVal (A i j) ≤ c :=
  absVal_le_of_opNorm2Le (OpNorm2Le.of_frob bound) i j

/-- A matrix product computed in any order lies within a radius made from the computed product of
the magnitudes.

Python: `peelverify.enclose.products.matmul_enclosed` -/
theorem matMul_enclosure {m n p : Nat} {A : Fin m → Fin n → α} {B : Fin n → Fin p → α}
    {C M R : Fin m → Fin p → α} {relative underflow : α} (relative_nonneg : 0 ≤ relative)
    (relative_lt_one : relative < 1)
    (error : ∀ i j, absVal (C i j - matMul A B i j) ≤
      relative * matMul (fun i k => absVal (A i k)) (fun k j => absVal (B k j)) i j + underflow)
    (magnitude_error : ∀ i j,
      absVal (M i j - matMul (fun i k => absVal (A i k)) (fun k j => absVal (B k j)) i j) ≤
        relative * matMul (fun i k => absVal (A i k)) (fun k j => absVal (B k j)) i j + underflow)
    (radius : ∀ i j, relative * nonnegSumUpper (M i j) relative underflow + underflow ≤ R i j)
    (i : Fin m) (j : Fin p) : absVal (C i j - matMul A B i j) ≤ R i j :=
  Std.le_trans
    (signed_enclosure relative_nonneg relative_lt_one (error i j) (magnitude_error i j))
    (radius i j)

private theorem FrobLe.of_entries {m n : Nat} {E R : Fin m → Fin n → α} {r : α}
    (entries : ∀ i j, absVal (E i j) ≤ R i j) (radius : FrobLe R r) : FrobLe E r := by
  refine ⟨radius.1, Std.le_trans ?_ radius.2⟩
  refine sum_le_sum fun i => sum_le_sum fun j => ?_
  have h := mul_self_le_mul_self (absVal_nonneg (E i j)) (entries i j)
  rw [absVal_mul_self] at h
  exact h

/-- The residual of a product is bounded by that of the computed product and the radius of the
product.

Python: `peelverify.enclose.products.residual_norm_fro_upper` -/
theorem FrobLe.residual_of_computed {m n p : Nat} {Z : Fin m → Fin n → α} {W : Fin n → Fin p → α}
    {T C R : Fin m → Fin p → α} {c r : α}
    (close : ∀ i j, absVal (C i j - matMul Z W i j) ≤ R i j)
    (computed_residual : FrobLe (fun i j => T i j - C i j) c) (radius : FrobLe R r) :
    FrobLe (fun i j => T i j - matMul Z W i j) (c + r) := by
  have h := FrobLe.add computed_residual
    (FrobLe.of_entries (E := fun i j => C i j - matMul Z W i j) close radius)
  have e : (fun i j => T i j - C i j + (C i j - matMul Z W i j)) =
      fun i j => T i j - matMul Z W i j :=
    funext fun i => funext fun j => by clear close h; grind
  rw [e] at h
  exact h

/-- No bound on the residual of a product is below that of the computed product less the radius of
the product.

Python: `peelverify.enclose.products.residual_norm_fro_lower` -/
theorem le_residual_of_computed {m n p : Nat} {Z : Fin m → Fin n → α} {W : Fin n → Fin p → α}
    {T C R : Fin m → Fin p → α} {c r d : α}
    (close : ∀ i j, absVal (C i j - matMul Z W i j) ≤ R i j)
    (computed_residual : c * c ≤ frobSq fun i j => T i j - C i j) (radius : FrobLe R r)
    (bound : FrobLe (fun i j => T i j - matMul Z W i j) d) : c - r ≤ d := by
  have swapped : ∀ i j, absVal (matMul Z W i j - C i j) ≤ R i j := by
    intro i j
    have e : matMul Z W i j - C i j = -(C i j - matMul Z W i j) := by clear close bound; grind
    rw [e, absVal_neg]
    exact close i j
  have h := FrobLe.add bound
    (FrobLe.of_entries (E := fun i j => matMul Z W i j - C i j) swapped radius)
  have e : (fun i j => T i j - matMul Z W i j + (matMul Z W i j - C i j)) =
      fun i j => T i j - C i j :=
    funext fun i => funext fun j => by clear close swapped h; grind
  rw [e] at h
  have h1 := le_of_mul_self_le_mul_self h.1 (Std.le_trans computed_residual h.2)
  clear close swapped h e computed_residual bound radius
  grind

/-- A sum of whole multiples of `step` whose magnitudes add up to at most `top` is computed without
error, in any order, by an arithmetic that keeps all multiples of `step` up to `top`.

Python: `peelverify.enclose.products.sum_is_exact` -/
theorem computes_exact_on_grid {step top : α} {t : RoundTree α} {v : α}
    (multiples : ∀ x ∈ t.leaves, ∃ k : Int, x = (k : α) * step) (magnitudes_le : t.absSum ≤ top)
    (computed : ComputesKeeping (fun w => (∃ k : Int, w = (k : α) * step) ∧ absVal w ≤ top) t v) :
    v = t.exact := by
  have size : ∀ t : RoundTree α, absVal t.exact ≤ t.absSum := by
    intro t
    induction t with
    | leaf x => exact Std.le_refl _
    | rnd eta t ih => exact ih
    | add l r ihl ihr =>
      have := absVal_add_le l.exact r.exact
      simp only [RoundTree.exact, RoundTree.absSum]
      grind
  have main : (∃ k : Int, t.exact = (k : α) * step) ∧ v = t.exact := by
    induction computed with
    | leaf x => exact ⟨multiples x (by simp [RoundTree.leaves]), rfl⟩
    | @rnd eta t v w h keeps ih =>
      obtain ⟨grid, e⟩ := ih multiples magnitudes_le
      refine ⟨grid, ?_⟩
      rw [keeps ⟨e ▸ grid, e ▸ Std.le_trans (size t) magnitudes_le⟩]
      exact e
    | @add l r v w hl hr ihl ihr =>
      have hs : l.absSum + r.absSum ≤ top := magnitudes_le
      have h1 := Std.le_trans (absVal_nonneg _) (size l)
      have h2 := Std.le_trans (absVal_nonneg _) (size r)
      obtain ⟨⟨a, ha⟩, el⟩ := ihl (fun x hx => multiples x (by simp [RoundTree.leaves, hx]))
        (by clear multiples size ihl ihr; grind)
      obtain ⟨⟨b, hb⟩, er⟩ := ihr (fun x hx => multiples x (by simp [RoundTree.leaves, hx]))
        (by clear multiples size ihl ihr; grind)
      refine ⟨⟨a + b, ?_⟩, ?_⟩
      · show l.exact + r.exact = _
        rw [ha, hb, Ring.intCast_add]
        clear multiples size ihl ihr
        grind
      · show v + w = l.exact + r.exact
        rw [el, er]
  exact main.2

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

example : nonnegSumLower (sum (vec [9 / 8, 2] : Fin 2 → Rat)) (1 / 8) ((2 : Nat) * 0) ≤
      sum (vec [1, 2] : Fin 2 → Rat) ∧ sum (vec [1, 2] : Fin 2 → Rat) ≤
      nonnegSumUpper (sum (vec [9 / 8, 2] : Fin 2 → Rat)) (1 / 8) ((2 : Nat) * 0) :=
  partial_sums_enclosure (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : dot (vec [1, -1] : Fin 2 → Rat) (vec [2, 2]) ≤
    1 / 8 + (1 / 8 * nonnegSumUpper 4 (1 / 8) 0 + 0) :=
  dot_le_of_computed (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : 1 / 8 - (1 / 8 * nonnegSumUpper 4 (1 / 8) 0 + 0) ≤
    dot (vec [1, -1] : Fin 2 → Rat) (vec [2, 2]) :=
  le_dot_of_computed (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : (1 : Rat) ≤ 3 / 2 ∧ (3 / 2 : Rat) ≤ 2 :=
  root_between (low := 2) (high := 3) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example (i : Fin 2) : (sum fun j => absVal ((if i = j then 25 else 0) - gram skew i j -
      gram (mat [[1, 0]] : Fin 1 → Fin 2 → Rat) i j - mat [[15, -3], [-3, 8]] i j)) ≤
    1 / 8 * vec [3, 5] i * sum (vec [3, 5] : Fin 2 → Rat) +
      0 * vec [1, 0] i * sum (vec [1, 0] : Fin 2 → Rat) + 0 + (2 : Nat) * (0 + 0) :=
  spectral_slack (G := gram skew) (P := mat [[1, 0], [0, 0]]) (subtraction := fun _ => 0)
    (by decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) i
example : OpNorm2Le skew 5 :=
  opNorm2Le_of_rounded_certificate (square := 24) (L := (mat [] : Fin 0 → Fin 2 → Rat))
    (D := mat [[15, -3], [-3, 29 / 4]]) (slack := fun _ => 1 / 2) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : OpNorm2Le (mat [] : Fin 3 → Fin 0 → Rat) 0 :=
  opNorm2Le_of_rounded_certificate (square := 0) (L := (mat [] : Fin 0 → Fin 0 → Rat))
    (D := mat []) (slack := fun _ => 0) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : OpNorm2Le (mat [[3]] : Fin 1 → Fin 1 → Rat) 3 :=
  opNorm2Le_of_rounded_certificate (square := 9) (L := (mat [] : Fin 0 → Fin 1 → Rat))
    (D := mat [[0]]) (slack := fun _ => 0) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : dot (vec [] : Fin 0 → Rat) (vec []) ≤ 0 + (0 * nonnegSumUpper 0 0 0 + 0) :=
  dot_le_of_computed (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : (sum fun i => absVal (skew i 1)) ≤ 5 :=
  columnSum_le_of_bound (norm1_mulVec_le (by decide +kernel)) 1
example : (sum fun j => absVal (skew 0 j)) ≤ 4 :=
  rowSum_le_of_bound (by decide +kernel) (normInf_mulVec_le (by decide +kernel)) 0
example {c : Rat} (h : OpNorm2Le skew c) : absVal (skew 1 1) ≤ c := absVal_le_of_opNorm2Le h 1 1
example {c : Rat} (h : FrobLe skew c) : absVal (skew 1 1) ≤ c := absVal_le_of_frobLe h 1 1

private abbrev computedSquare : Fin 2 → Fin 2 → Rat := mat [[9, 29 / 4], [0, 16]]

private theorem computedSquare_close (i j : Fin 2) :
    absVal (computedSquare i j - matMul skew skew i j) ≤ (mat [[2, 3], [1, 4]]) i j :=
  matMul_enclosure (relative := 1 / 8) (underflow := 1 / 8) (M := mat [[9, 7], [0, 16]])
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) i j

example : FrobLe (fun i j => mat [[9, 7], [0, 16]] i j - matMul skew skew i j) (1 + 6) :=
  FrobLe.residual_of_computed computedSquare_close ⟨by decide +kernel, by decide +kernel⟩
    ⟨by decide +kernel, by decide +kernel⟩
example {d : Rat} (h : FrobLe (fun i j => mat [[20, 7], [0, 16]] i j - matMul skew skew i j) d) :
    10 - 6 ≤ d :=
  le_residual_of_computed computedSquare_close (by decide +kernel)
    ⟨by decide +kernel, by decide +kernel⟩ h
example {v : Rat} (h : ComputesKeeping (fun w => (∃ k : Int, w = (k : Rat) * (1 / 4)) ∧
    absVal w ≤ 4) (.rnd 0 (.add (.leaf (3 / 4)) (.leaf (1 / 2)))) v) : v = 5 / 4 := by
  have e := computes_exact_on_grid
    (by
      intro x hx
      simp only [RoundTree.leaves, List.cons_append, List.nil_append, List.mem_cons,
        List.not_mem_nil, or_false] at hx
      cases hx with
      | inl h => exact ⟨3, by rw [h]; decide +kernel⟩
      | inr h => exact ⟨2, by rw [h]; decide +kernel⟩)
    (by decide +kernel) h
  rw [e]
  decide +kernel
example : ComputesKeeping (fun w => (∃ k : Int, w = (k : Rat) * (1 / 4)) ∧ absVal w ≤ 4)
    (.rnd 0 (.add (.leaf (3 / 4)) (.leaf (1 / 2)))) (5 / 4) :=
  .rnd (.add (.leaf _) (.leaf _)) fun _ => by decide +kernel

end Examples

end PeelVerify
