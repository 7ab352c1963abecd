module

public import Proofs.Peeling
public import Proofs.Matrix

/-!
# Linear layers with many outputs

Peeling fits a whole weight matrix, not one column of it. The facts of `Proofs.Peeling` carry over
column by column and add up in the Frobenius norm, so that a lower bound on the residual of every
linear layer can be certified.

## Main results

* `layer_normal_equations_optimal`: a solution of the normal equations is the best matrix.
* `layer_weak_duality`, `layer_weak_duality_of_bounded`: a dual matrix bounds the residual of every
  weight matrix, or of every weight matrix of bounded size, from below.
* `layer_weak_duality_of_strong_convexity`: a nearly optimal matrix bounds it too, when the
  features lengthen every vector at least by `√mu`.
* `strong_convexity_of_certificate`: how such a `mu` is certified.

## Assumptions

A linearly ordered field. Features and targets are fixed; the bounds say nothing about a network
whose earlier layers change as well.

## References

Peeling: arXiv 2605.02853.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u}

section Definitions

variable [Field α]

/-- The sum of the products of corresponding entries of two matrices.

Python: `peelverify.bounds.layers.frob_dot` -/
def frobDot {m n : Nat} (A B : Fin m → Fin n → α) : α := sum fun i => dot (A i) (B i)

/-- What a linear layer leaves of its targets: `T - ZW`.

Python: `peelverify.bounds.layers.layer_residual` -/
def layerResidual {m n p : Nat} (Z : Fin m → Fin n → α) (T : Fin m → Fin p → α)
    (W : Fin n → Fin p → α) : Fin m → Fin p → α :=
  fun i k => T i k - matMul Z W i k

/-- What is left of the normal equations of a layer: `Zᵀ(T - ZW)`.

Python: `peelverify.bounds.layers.layer_normal_equation_residual` -/
def layerNormalResidual {m n p : Nat} (Z : Fin m → Fin n → α) (T : Fin m → Fin p → α)
    (W : Fin n → Fin p → α) : Fin n → Fin p → α :=
  matMul (transpose Z) (layerResidual Z T W)

/-- The matrix `ZᵀZ - mu I - LᵀL`, whose dominance certifies that `Z` lengthens every vector at
least by `√mu`.

Python: `peelverify.bounds.layers.convexity_residual` -/
def convexityResidual {m n p : Nat} (Z : Fin m → Fin n → α) (L : Fin p → Fin n → α) (mu : α) :
    Fin n → Fin n → α :=
  fun i j => gram Z i j - (if i = j then mu else 0) - gram L i j

/-- Check that `L` proves `mu` to be a lower bound on the squares of the singular values of `Z`.

Python: `peelverify.bounds.layers.convexity_check` -/
def convexityCheck [LE α] [DecidableLE α] {m n p : Nat} (Z : Fin m → Fin n → α)
    (L : Fin p → Fin n → α) (mu : α) : Bool :=
  decide (∀ i, (sum fun j => absVal (convexityResidual Z L mu i j)) ≤
    2 * convexityResidual Z L mu i i)

end Definitions

section Ring

variable [Field α]

/-- The squared Frobenius norm is the sum of the squared lengths of the columns.

Python: `peelverify.bounds.matrix.frob_sq` -/
theorem frobSq_eq_sum_columns {m n : Nat} (A : Fin m → Fin n → α) :
    frobSq A = sum fun k => normSq fun i => A i k := by
  rw [← frobSq_transpose]
  rfl

private theorem column_residual {m n p : Nat} (Z : Fin m → Fin n → α) (T : Fin m → Fin p → α)
    (W : Fin n → Fin p → α) (k : Fin p) :
    (fun i => layerResidual Z T W i k) = residual Z (fun i => T i k) fun j => W j k := rfl

private theorem column_normalResidual {m n p : Nat} (Z : Fin m → Fin n → α)
    (T : Fin m → Fin p → α) (W : Fin n → Fin p → α) (k : Fin p) :
    (fun j => layerNormalResidual Z T W j k) =
      normalEquationResidual Z (fun i => T i k) fun j => W j k := rfl

private theorem frobDot_matMul {m n p : Nat} (Z : Fin m → Fin n → α) (W : Fin n → Fin p → α)
    (Y : Fin m → Fin p → α) : frobDot (matMul Z W) Y = frobDot W (matMul (transpose Z) Y) := by
  have columns : ∀ {q : Nat} (A B : Fin q → Fin p → α),
      frobDot A B = sum fun k => dot (fun i => A i k) fun i => B i k :=
    fun A B => sum_comm fun i k => A i k * B i k
  rw [columns, columns]
  exact sum_congr fun k => dot_mulVec Z (fun j => W j k) fun i => Y i k

/-- The excess of the squared residual of a layer over that of a solution of the normal equations
is the squared Frobenius norm of the difference of their outputs.

Python: `peelverify.bounds.layers.layer_residual` -/
theorem layer_least_squares_gap {m n p : Nat} (Z : Fin m → Fin n → α) (T : Fin m → Fin p → α)
    (W W0 : Fin n → Fin p → α)
    (normal_equations : ∀ j k, layerNormalResidual Z T W0 j k = 0) :
    frobSq (layerResidual Z T W) =
      frobSq (layerResidual Z T W0) + frobSq (matMul Z fun j k => W j k - W0 j k) := by
  rw [frobSq_eq_sum_columns, frobSq_eq_sum_columns, frobSq_eq_sum_columns, ← sum_add]
  refine sum_congr fun k => ?_
  exact least_squares_gap Z (fun i => T i k) (fun j => W j k) (fun j => W0 j k)
    fun j => normal_equations j k

end Ring

section Order

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- Cauchy–Schwarz for matrices.

Python: `peelverify.bounds.layers.frob_dot` -/
theorem frobDot_sq_le {m n : Nat} (A B : Fin m → Fin n → α) :
    frobDot A B * frobDot A B ≤ frobSq A * frobSq B := by
  refine sq_le_mul_of_quadratic_nonneg fun a b => ?_
  have h := frobSq_nonneg fun i j => b * A i j - a * B i j
  have e : frobSq (fun i j => b * A i j - a * B i j) =
      b * b * frobSq A - 2 * (a * b * frobDot A B) + a * a * frobSq B := by
    have rows : ∀ i, normSq (fun j => b * A i j - a * B i j) =
        b * b * normSq (A i) - 2 * a * b * dot (A i) (B i) + a * a * normSq (B i) := by
      intro i
      rw [normSq_sub, normSq_smul, normSq_smul, dot_smul_left, dot_smul_right]
      grind
    unfold frobSq frobDot
    rw [sum_congr rows, sum_add, sum_sub, sum_mul_left, sum_mul_left, sum_mul_left]
    grind
  rw [e] at h
  exact h

/-- A solution of the normal equations has the smallest squared residual of all weight matrices.

Python: `peelverify.bounds.layers.layer_normal_equation_residual` -/
theorem layer_normal_equations_optimal {m n p : Nat} (Z : Fin m → Fin n → α)
    (T : Fin m → Fin p → α) (W W0 : Fin n → Fin p → α)
    (normal_equations : ∀ j k, layerNormalResidual Z T W0 j k = 0) :
    frobSq (layerResidual Z T W0) ≤ frobSq (layerResidual Z T W) := by
  rw [layer_least_squares_gap Z T W W0 normal_equations]
  have h := frobSq_nonneg (matMul Z fun j k => W j k - W0 j k)
  clear normal_equations
  grind

private theorem frobDot_residual {m n p : Nat} (Z : Fin m → Fin n → α) (T Y : Fin m → Fin p → α)
    (W : Fin n → Fin p → α) :
    frobDot Y (layerResidual Z T W) = frobDot Y T - frobDot W (matMul (transpose Z) Y) := by
  have comm : ∀ A B : Fin m → Fin p → α, frobDot A B = frobDot B A :=
    fun A B => sum_congr fun i => dot_comm (A i) (B i)
  rw [← frobDot_matMul, comm (matMul Z W) Y]
  unfold frobDot
  rw [← sum_sub]
  exact sum_congr fun i => dot_sub_right (Y i) (T i) (matMul Z W i)

/-- Approximate duality for layers: for every weight matrix of Frobenius norm at most `radius`, a
dual matrix with `‖ZᵀY‖ ≤ eps` bounds the squared residual from below.

Python: `peelverify.bounds.layers.bounded_layer_lower_sq` -/
theorem layer_weak_duality_of_bounded {m n p : Nat} (Z : Fin m → Fin n → α)
    (T Y : Fin m → Fin p → α) (W : Fin n → Fin p → α) {radius eps : α}
    (weights_bounded : FrobLe W radius) (nearly_feasible : FrobLe (matMul (transpose Z) Y) eps)
    (informative : eps * radius ≤ frobDot Y T) :
    (frobDot Y T - eps * radius) * (frobDot Y T - eps * radius) ≤
      frobSq Y * frobSq (layerResidual Z T W) := by
  have h1 : frobDot W (matMul (transpose Z) Y) ≤ eps * radius := by
    refine le_of_mul_self_le_mul_self (mul_nonneg nearly_feasible.1 weights_bounded.1) ?_
    have h := frobDot_sq_le W (matMul (transpose Z) Y)
    have h2 := mul_le_mul weights_bounded.2 nearly_feasible.2 (frobSq_nonneg _)
      (mul_self_nonneg radius)
    grind
  have h2 := frobDot_residual Z T Y W
  have h3 := mul_self_le_mul_self (a := frobDot Y T - eps * radius)
    (b := frobDot Y (layerResidual Z T W)) (by grind) (by grind)
  exact Std.le_trans h3 (frobDot_sq_le _ _)

/-- Weak duality for layers: a dual matrix with `ZᵀY = 0` bounds the squared residual of every
weight matrix from below.

Python: `peelverify.bounds.layers.bounded_layer_lower_sq` -/
theorem layer_weak_duality {m n p : Nat} (Z : Fin m → Fin n → α) (T Y : Fin m → Fin p → α)
    (W : Fin n → Fin p → α) (dual_feasible : ∀ j k, matMul (transpose Z) Y j k = 0) :
    frobDot Y T * frobDot Y T ≤ frobSq Y * frobSq (layerResidual Z T W) := by
  have h2 := frobDot_residual Z T Y W
  have e : matMul (transpose Z) Y = fun _ _ => 0 := funext fun j => funext fun k => dual_feasible j k
  have h0 : frobDot W (fun _ _ => 0) = 0 := by
    unfold frobDot
    rw [sum_congr fun i => dot_zero_right (W i), sum_const_zero]
  rw [e, h0] at h2
  have h3 := frobDot_sq_le Y (layerResidual Z T W)
  have e2 : frobDot Y (layerResidual Z T W) = frobDot Y T := by
    clear h3 e dual_feasible
    grind
  rw [e2] at h3
  exact h3

/-- Approximate optimality of a layer: if `Z` lengthens every vector at least by `√mu`, a small
residual of the normal equations bounds how much better any weight matrix can be.

Python: `peelverify.bounds.peeling.approximate_optimum_lower` -/
theorem layer_weak_duality_of_strong_convexity {m n p : Nat} (Z : Fin m → Fin n → α)
    (T : Fin m → Fin p → α) (W W0 : Fin n → Fin p → α) {mu : α} (mu_nonneg : 0 ≤ mu)
    (strongly_convex : ∀ v : Fin n → α, mu * normSq v ≤ normSq (mulVec Z v)) :
    mu * frobSq (layerResidual Z T W0) - frobSq (layerNormalResidual Z T W0) ≤
      mu * frobSq (layerResidual Z T W) := by
  rw [frobSq_eq_sum_columns, frobSq_eq_sum_columns, frobSq_eq_sum_columns, ← sum_mul_left,
    ← sum_mul_left, ← sum_sub]
  refine sum_le_sum fun k => ?_
  exact weak_duality_of_strong_convexity Z (fun i => T i k) (fun j => W j k) (fun j => W0 j k)
    mu_nonneg strongly_convex

section Decidable

variable [DecidableLE α]

/-- If `ZᵀZ - mu I = LᵀL + D` with a diagonally dominant `D`, then `Z` lengthens every vector at
least by `√mu`.

Python: `peelverify.bounds.layers.convexity_check` -/
theorem strong_convexity_of_certificate {m n p : Nat} {Z : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {D : Fin n → Fin n → α} {mu : α}
    (decomposition : ∀ i j, gram Z i j - (if i = j then mu else 0) = gram L i j + D i j)
    (dominant : DiagonallyDominant D) (v : Fin n → α) :
    mu * normSq v ≤ normSq (mulVec Z v) := by
  have gram_symm : ∀ {q : Nat} (M : Fin q → Fin n → α) (i j : Fin n), gram M i j = gram M j i :=
    fun M i j => dot_comm (fun k => M k i) fun k => M k j
  have symmetric : ∀ i j, D i j = D j i := by
    intro i j
    have h1 := decomposition i j
    have h2 := decomposition j i
    have h3 := gram_symm Z i j
    have h4 := gram_symm L i j
    have e : (if i = j then mu else 0) = if j = i then mu else 0 := by
      by_cases h : i = j
      · rw [if_pos h, if_pos h.symm]
      · rw [if_neg h, if_neg fun hji => h hji.symm]
    clear decomposition dominant gram_symm
    grind
  have h := dot_mulVec_nonneg_of_diagonallyDominant symmetric dominant v
  have h2 := normSq_nonneg (mulVec L v)
  rw [normSq_mulVec] at h2 ⊢
  have e : D = fun i j => gram Z i j - (if i = j then mu else 0) - gram L i j :=
    funext fun i => funext fun j => by have := decomposition i j; clear decomposition; grind
  have e2 : mulVec D v = fun i => mulVec (gram Z) v i - mu * v i - mulVec (gram L) v i := by
    have diagonal : mulVec (fun i j : Fin n => if i = j then mu else 0) v = fun i => mu * v i := by
      funext i
      have pick : ∀ j, (if i = j then mu else 0) * v j = if j = i then mu * v i else 0 := by
        intro j
        by_cases hj : i = j
        · subst hj; rw [if_pos rfl, if_pos rfl]
        · rw [if_neg hj, if_neg fun hji => hj hji.symm]; grind
      unfold mulVec dot
      rw [sum_congr pick, sum_ite_eq i (mu * v i)]
    rw [e, sub_mulVec, sub_mulVec, diagonal]
  rw [e2, dot_sub_right v, dot_sub_right v (mulVec (gram Z) v), dot_smul_right] at h
  have e3 : dot v v = normSq v := rfl
  rw [e3] at h
  clear e e2 e3 decomposition dominant symmetric gram_symm
  grind

/-- A passed convexity check means that `Z` lengthens every vector at least by `√mu`.

Python: `peelverify.bounds.layers.convexity_check` -/
theorem strong_convexity_of_convexityCheck {m n p : Nat} {Z : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {mu : α} (passes : convexityCheck Z L mu = true) (v : Fin n → α) :
    mu * normSq v ≤ normSq (mulVec Z v) := by
  simp only [convexityCheck, decide_eq_true_eq] at passes
  exact strong_convexity_of_certificate (L := L) (D := convexityResidual Z L mu)
    (fun i j => by unfold convexityResidual; grind) passes v

end Decidable

end Order

section Examples

private abbrev features : Fin 3 → Fin 2 → Rat := mat [[1, 0], [0, 2], [1, 0]]
private abbrev targets : Fin 3 → Fin 2 → Rat := mat [[1, 0], [2, 2], [3, 4]]
private abbrev weights : Fin 2 → Fin 2 → Rat := mat [[2, 2], [1, 1]]
private abbrev dual : Fin 3 → Fin 2 → Rat := mat [[-1, -1], [0, 0], [1, 1]]

example : frobDot targets dual = 6 := by decide +kernel
example : frobSq (layerResidual features targets weights) = 10 := by decide +kernel
example : ∀ j k, layerNormalResidual features targets weights j k = 0 := by decide +kernel
example : frobSq targets = sum fun k => normSq fun i => targets i k :=
  frobSq_eq_sum_columns targets
example (W : Fin 2 → Fin 2 → Rat) : frobSq (layerResidual features targets W) =
    frobSq (layerResidual features targets weights) +
      frobSq (matMul features fun j k => W j k - weights j k) :=
  layer_least_squares_gap features targets W weights (by decide +kernel)
example (W : Fin 2 → Fin 2 → Rat) : frobSq (layerResidual features targets weights) ≤
    frobSq (layerResidual features targets W) :=
  layer_normal_equations_optimal features targets W weights (by decide +kernel)
example : frobDot targets dual * frobDot targets dual ≤ frobSq targets * frobSq dual :=
  frobDot_sq_le targets dual
example (W : Fin 2 → Fin 2 → Rat) : frobDot dual targets * frobDot dual targets ≤
    frobSq dual * frobSq (layerResidual features targets W) :=
  layer_weak_duality features targets dual W (by decide +kernel)
example (W : Fin 2 → Fin 2 → Rat) (hW : FrobLe W 2) :
    (6 - 1 * 2) * (6 - 1 * 2) ≤ 4 * frobSq (layerResidual features targets W) := by
  have h := layer_weak_duality_of_bounded features targets dual W (eps := 1) hW
    (by unfold FrobLe; decide +kernel) (by decide +kernel)
  have h1 : frobDot dual targets = 6 := by decide +kernel
  have h2 : frobSq dual = 4 := by decide +kernel
  rw [h1, h2] at h
  exact h
example : convexityCheck features (mat [[0, 1]] : Fin 1 → Fin 2 → Rat) 2 = true := by
  decide +kernel
example : convexityCheck features (mat [[0, 1]] : Fin 1 → Fin 2 → Rat) 3 = false := by
  decide +kernel
example : convexityResidual features (mat [[0, 1]] : Fin 1 → Fin 2 → Rat) 2 1 1 = 1 := by
  decide +kernel
example (v : Fin 2 → Rat) : 2 * normSq v ≤ normSq (mulVec features v) :=
  strong_convexity_of_convexityCheck (L := (mat [[0, 1]] : Fin 1 → Fin 2 → Rat))
    (by decide +kernel) v
example (v : Fin 2 → Rat) : 2 * normSq v ≤ normSq (mulVec features v) :=
  strong_convexity_of_certificate (L := (mat [[0, 1]] : Fin 1 → Fin 2 → Rat))
    (D := mat [[0, 0], [0, 1]]) (by decide +kernel) (by unfold DiagonallyDominant; decide +kernel) v
example (W : Fin 2 → Fin 2 → Rat) :
    2 * frobSq (layerResidual features targets weights) -
        frobSq (layerNormalResidual features targets weights) ≤
      2 * frobSq (layerResidual features targets W) :=
  layer_weak_duality_of_strong_convexity features targets W weights (by decide +kernel) fun v =>
    strong_convexity_of_convexityCheck (L := (mat [[0, 1]] : Fin 1 → Fin 2 → Rat))
      (by decide +kernel) v

end Examples

end PeelVerify
