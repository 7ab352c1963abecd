module

public import Proofs.Matrix

/-!
# Least squares, duality and low-bit weights

The facts behind peeling: when a fitted layer is optimal, how far any other layer must be from
the target, and which low-bit weights are best. One output column at a time: features `Z` (samples
by features), target `t`, weights `w`.

## Main results

* `normal_equations_optimal`, `least_squares_gap`: solutions of the normal equations are optimal.
* `weak_duality` and two approximate forms: lower bounds for every weight vector.
* `ridge_gap`: the gap of a regularised fit.
* `best_scale_optimal`, `flip_identity`, `sign_optimal_of_orthogonal`,
  `ternary_optimal_of_orthogonal`: low-bit weights.
* `witness_gap`, `suiteMin_mono`: what a witness proves.

## Assumptions

A linearly ordered field. Sign and ternary optimality need orthogonal features and a fixed scale.

## References

Peeling: arXiv 2605.02853 and arXiv 2410.10984.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u v

variable {α : Type u}

section Definitions

variable [Field α]

/-- What a linear layer leaves of its target: `t - Zw`.

Python: `peelverify.bounds.peeling.residual` -/
def residual {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) (w : Fin n → α) : Fin m → α :=
  fun i => t i - mulVec Z w i

/-- What is left of the normal equations: `Zᵀ(t - Zw)`, zero at a least-squares solution.

Python: `peelverify.bounds.peeling.normal_equation_residual` -/
def normalEquationResidual {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) (w : Fin n → α) :
    Fin n → α :=
  mulVec (transpose Z) (residual Z t w)

/-- The excess of the loss at `w` over the loss at a least-squares solution `w0`.

Python: `peelverify.bounds.peeling.pythagorean_gap` -/
def pythagoreanGap {m n : Nat} (Z : Fin m → Fin n → α) (w w0 : Fin n → α) : α :=
  normSq (mulVec Z fun j => w j - w0 j)

/-- The lower bound on a squared residual that a dual vector gives.

Python: `peelverify.bounds.peeling.dual_lower_bound_sq` -/
def dualLowerBoundSq {m : Nat} (y t : Fin m → α) : α := dot y t * dot y t / normSq y

/-- The best scale of a fixed pattern for a target, and zero for the zero pattern.

Python: `peelverify.bounds.peeling.best_scale` -/
def bestScale {m : Nat} (pattern target : Fin m → α) : α := dot pattern target / normSq pattern

/-- How the squared error changes when one sign flips, from the scale, that sign, the inner
product of its feature with the residual, and the squared norm of the feature.

Python: `peelverify.bounds.peeling.flip_change` -/
def flipChange (scale sign inner featureSq : α) : α :=
  4 * scale * sign * inner + 4 * (scale * scale) * featureSq

/-- The regularised loss `‖t - Zw‖² + lam ‖w‖²`.

Python: `peelverify.bounds.peeling.ridge_loss` -/
def ridgeLoss {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) (lam : α) (w : Fin n → α) : α :=
  normSq (residual Z t w) + lam * normSq w

/-- How far a loss is from being optimal at least, by an achievable value.

Python: `peelverify.bounds.peeling.witness_gap` -/
def witnessGap (loss witness : α) : α := loss - witness

section Decidable

variable [LE α] [DecidableLE α]

/-- The sign of a number, `1` for zero.

Python: `peelverify.bounds.peeling.sign_of` -/
def signOf (a : α) : α := if 0 ≤ a then 1 else -1

/-- The best value among `-1`, `0`, `1` for a weight with the given scale, squared norm of its
feature, and inner product of the feature with the target.

Python: `peelverify.bounds.peeling.ternary_of` -/
def ternaryOf (scale featureSq inner : α) : α :=
  if 2 * absVal inner ≤ scale * featureSq then 0 else signOf inner

/-- Replacing negative entries by zero.

Python: `peelverify.bounds.peeling.relu` -/
def relu {n : Nat} (x : Fin n → α) : Fin n → α := fun i => maxVal 0 (x i)

/-- The smallest value of a suite that is given by its first value and the rest.

Python: `peelverify.bounds.peeling.suite_min` -/
def suiteMin (first : α) : List α → α
  | [] => first
  | x :: rest => minVal x (suiteMin first rest)

end Decidable

end Definitions

section Ring

variable [Field α]

private theorem residual_eq {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    (w w0 : Fin n → α) :
    residual Z t w = fun i => residual Z t w0 i - mulVec Z (fun j => w j - w0 j) i := by
  funext i
  rw [mulVec_sub]
  unfold residual
  grind

private theorem normSq_residual {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    (w w0 : Fin n → α) :
    normSq (residual Z t w) = normSq (residual Z t w0) -
      2 * dot (fun j => w j - w0 j) (normalEquationResidual Z t w0) + pythagoreanGap Z w w0 := by
  rw [residual_eq Z t w w0, normSq_sub, dot_comm (residual Z t w0), dot_mulVec]
  rfl

/-- At a solution of the normal equations, the loss of any other weights exceeds the optimum by
exactly the squared norm of the difference of the outputs.

Python: `peelverify.bounds.peeling.pythagorean_gap` -/
theorem least_squares_gap {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) (w w0 : Fin n → α)
    (normal_equations : ∀ j, normalEquationResidual Z t w0 j = 0) :
    normSq (residual Z t w) = normSq (residual Z t w0) + pythagoreanGap Z w w0 := by
  rw [normSq_residual Z t w w0, funext normal_equations, dot_zero_right]
  grind

/-- A regularised fit: at a solution of the regularised normal equations the regularised loss of
any other weights exceeds the optimum by exactly `‖Z(w - w0)‖² + lam ‖w - w0‖²`.

Python: `peelverify.bounds.peeling.ridge_loss` -/
theorem ridge_gap {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) (lam : α)
    (w w0 : Fin n → α)
    (normal_equations : ∀ j, normalEquationResidual Z t w0 j = lam * w0 j) :
    ridgeLoss Z t lam w = ridgeLoss Z t lam w0 + pythagoreanGap Z w w0 +
      lam * normSq fun j => w j - w0 j := by
  unfold ridgeLoss
  rw [normSq_residual Z t w w0, funext normal_equations, dot_smul_right, normSq_sub,
    dot_sub_left]
  unfold normSq
  grind

/-- Flipping the sign of weight `k` changes the squared error by `flipChange`.

Python: `peelverify.bounds.peeling.flip_change` -/
theorem flip_identity {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) (scale : α)
    (s flipped : Fin n → α) (k : Fin n) (sign_sq : s k * s k = 1) (flipped_eq : flipped k = -s k)
    (others_eq : ∀ j, j ≠ k → flipped j = s j) :
    normSq (residual Z t fun j => scale * flipped j) =
      normSq (residual Z t fun j => scale * s j) +
        flipChange scale (s k) (dot (fun i => Z i k) (residual Z t fun j => scale * s j))
          (normSq fun i => Z i k) := by
  have h : residual Z t (fun j => scale * flipped j) = fun i =>
      residual Z t (fun j => scale * s j) i + 2 * scale * s k * Z i k := by
    funext i
    have e : mulVec Z (fun j => scale * s j) i - mulVec Z (fun j => scale * flipped j) i =
        2 * scale * s k * Z i k := by
      unfold mulVec dot
      rw [← sum_sub]
      refine Eq.trans (sum_congr fun j => ?_) (sum_ite_eq k (2 * scale * s k * Z i k))
      dsimp only
      by_cases hj : j = k
      · subst hj
        rw [if_pos rfl, flipped_eq]
        grind
      · rw [if_neg hj, others_eq j hj]
        grind
    unfold residual
    grind
  rw [h, normSq_add, normSq_smul, dot_smul_right,
    dot_comm (residual Z t fun j => scale * s j) fun i => Z i k]
  unfold flipChange
  grind

private theorem normSq_residual_of_orthogonal {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    (scale : α) (s : Fin n → α)
    (orthogonal : ∀ j k, j ≠ k → dot (fun i => Z i j) (fun i => Z i k) = 0) :
    normSq (residual Z t fun j => scale * s j) = normSq t + sum fun j =>
      scale * scale * (s j * s j) * (normSq fun i => Z i j) -
        2 * scale * s j * dot (fun i => Z i j) t := by
  have h1 : dot t (mulVec Z fun j => scale * s j) =
      sum fun j => scale * s j * dot (fun i => Z i j) t := by
    rw [dot_comm, dot_mulVec]; rfl
  have h2 : normSq (mulVec Z fun j => scale * s j) =
      sum fun j => scale * scale * (s j * s j) * normSq fun i => Z i j := by
    rw [normSq_mulVec]
    refine sum_congr fun j => ?_
    have e : mulVec (gram Z) (fun j => scale * s j) j =
        (normSq fun i => Z i j) * (scale * s j) := by
      refine Eq.trans (sum_congr fun k => ?_)
        (sum_ite_eq j ((normSq fun i => Z i j) * (scale * s j)))
      by_cases hk : k = j
      · subst hk; rw [if_pos rfl]; rfl
      · rw [if_neg hk]
        have h0 : gram Z j k = 0 := orthogonal j k (Ne.symm hk)
        rw [h0]
        grind
    rw [e]
    grind
  have h3 : normSq (residual Z t fun j => scale * s j) = normSq t -
      2 * dot t (mulVec Z fun j => scale * s j) + normSq (mulVec Z fun j => scale * s j) :=
    normSq_sub _ _
  rw [h3, h1, h2, sum_sub]
  have h4 : (sum fun j => 2 * scale * s j * dot (fun i => Z i j) t) =
      2 * sum fun j => scale * s j * dot (fun i => Z i j) t := by
    rw [← sum_mul_left]
    exact sum_congr fun j => by grind
  rw [h4]
  grind

end Ring

section Order

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- A solution of the normal equations has the smallest loss of all weights.

Python: `peelverify.bounds.peeling.normal_equation_residual` -/
theorem normal_equations_optimal {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    (w w0 : Fin n → α) (normal_equations : ∀ j, normalEquationResidual Z t w0 j = 0) :
    normSq (residual Z t w0) ≤ normSq (residual Z t w) := by
  have h1 := least_squares_gap Z t w w0 normal_equations
  have h2 : 0 ≤ pythagoreanGap Z w w0 := normSq_nonneg _
  clear normal_equations
  grind

/-- Weak duality: a vector `y` with `Zᵀy = 0` bounds the loss of every weight vector from below.

Python: `peelverify.bounds.peeling.dual_lower_bound_sq` -/
theorem weak_duality {m n : Nat} (Z : Fin m → Fin n → α) (t y : Fin m → α) (w : Fin n → α)
    (dual_feasible : ∀ j, mulVec (transpose Z) y j = 0) :
    dot y t * dot y t ≤ normSq y * normSq (residual Z t w) := by
  have h1 : dot (mulVec Z w) y = 0 := by
    rw [dot_mulVec, funext dual_feasible, dot_zero_right]
  have h2 : dot y (residual Z t w) = dot y t := by
    have e : dot y (residual Z t w) = dot y t - dot y (mulVec Z w) := dot_sub_right _ _ _
    rw [e, dot_comm y (mulVec Z w), h1]
    grind
  rw [← h2]
  exact dot_sq_le_normSq_mul_normSq _ _

/-- The lower bound of a dual vector that is not zero, as one number.

Python: `peelverify.bounds.peeling.dual_lower_bound_sq` -/
theorem dualLowerBoundSq_le {m n : Nat} (Z : Fin m → Fin n → α) (t y : Fin m → α) (w : Fin n → α)
    (dual_feasible : ∀ j, mulVec (transpose Z) y j = 0) (y_ne_zero : 0 < normSq y) :
    dualLowerBoundSq y t ≤ normSq (residual Z t w) := by
  refine div_le_of_le_mul y_ne_zero ?_
  have h := weak_duality Z t y w dual_feasible
  clear dual_feasible
  grind

/-- Approximate optimality: if `Z` lengthens every vector at least by `√mu`, a small residual of
the normal equations bounds how much better any weights can be.

Python: `peelverify.bounds.peeling.approximate_optimum_lower` -/
theorem weak_duality_of_strong_convexity {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    (w w0 : Fin n → α) {mu : α} (mu_nonneg : 0 ≤ mu)
    (strongly_convex : ∀ v : Fin n → α, mu * normSq v ≤ normSq (mulVec Z v)) :
    mu * normSq (residual Z t w0) - normSq (normalEquationResidual Z t w0) ≤
      mu * normSq (residual Z t w) := by
  rw [normSq_residual Z t w w0]
  have h1 := mul_le_mul_left mu_nonneg (strongly_convex fun j => w j - w0 j)
  have h2 := normSq_nonneg fun j => mu * (w j - w0 j) - normalEquationResidual Z t w0 j
  rw [normSq_sub, normSq_smul mu fun j => w j - w0 j, dot_smul_left mu fun j => w j - w0 j] at h2
  unfold pythagoreanGap
  clear strongly_convex
  grind

/-- Approximate duality: weights of length at most `radius` and a dual vector with `‖Zᵀy‖ ≤ eps`
still give a lower bound.

Python: `peelverify.bounds.peeling.bounded_dual_lower_sq` -/
theorem weak_duality_of_bounded {m n : Nat} (Z : Fin m → Fin n → α) (t y : Fin m → α)
    (w : Fin n → α) {radius eps : α} (weights_bounded : Norm2Le w radius)
    (nearly_feasible : Norm2Le (mulVec (transpose Z) y) eps)
    (informative : eps * radius ≤ dot y t) :
    (dot y t - eps * radius) * (dot y t - eps * radius) ≤
      normSq y * normSq (residual Z t w) := by
  have h1 : dot (mulVec Z w) y ≤ eps * radius := by
    rw [dot_mulVec, dot_comm]
    exact dot_le_of_norm2Le nearly_feasible weights_bounded
  have h2 : dot y (residual Z t w) = dot y t - dot (mulVec Z w) y := by
    rw [dot_comm (mulVec Z w) y]
    exact dot_sub_right _ _ _
  have h3 := mul_self_le_mul_self (a := dot y t - eps * radius) (b := dot y (residual Z t w))
    (by grind) (by grind)
  exact Std.le_trans h3 (dot_sq_le_normSq_mul_normSq _ _)

/-- Approximate optimality of a regularised fit, for every weight vector.

Python: `peelverify.bounds.peeling.approximate_optimum_lower` -/
theorem weak_duality_ridge {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    (w w0 : Fin n → α) {lam : α} (lam_nonneg : 0 ≤ lam) :
    lam * ridgeLoss Z t lam w0 -
        normSq (fun j => normalEquationResidual Z t w0 j - lam * w0 j) ≤
      lam * ridgeLoss Z t lam w := by
  have h1 := normSq_residual Z t w w0
  have h2 := normSq_nonneg fun j =>
    lam * (w j - w0 j) - (normalEquationResidual Z t w0 j - lam * w0 j)
  rw [normSq_sub, normSq_smul lam fun j => w j - w0 j, dot_smul_left lam fun j => w j - w0 j,
    dot_sub_right, dot_smul_right, normSq_sub w w0, dot_sub_left w w0 w0] at h2
  have h3 := mul_nonneg lam_nonneg (normSq_nonneg (mulVec Z fun j => w j - w0 j))
  unfold ridgeLoss
  rw [h1]
  unfold pythagoreanGap
  have e : dot w0 w0 = normSq w0 := rfl
  rw [e] at h2
  clear h1 e
  grind

/-- The fit without regularisation is better by at most `lam (‖w0‖² - ‖wLam‖²)`.

Python: `peelverify.bounds.peeling.ridge_loss` -/
theorem ridge_residual_gap_le {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) {lam : α}
    (lam_nonneg : 0 ≤ lam) (wLam w0 : Fin n → α)
    (normal_equations : ∀ j, normalEquationResidual Z t wLam j = lam * wLam j) :
    normSq (residual Z t wLam) - normSq (residual Z t w0) ≤
      lam * (normSq w0 - normSq wLam) := by
  have h1 := ridge_gap Z t lam w0 wLam normal_equations
  have h2 : 0 ≤ pythagoreanGap Z w0 wLam := normSq_nonneg _
  have h3 := mul_nonneg lam_nonneg (normSq_nonneg fun j => w0 j - wLam j)
  unfold ridgeLoss at h1
  clear normal_equations
  grind

/-- The best scale of a fixed pattern leaves the smallest squared error, and any other scale
leaves more by exactly the squared difference of the scales times the pattern's squared norm.

Python: `peelverify.bounds.peeling.best_scale` -/
theorem best_scale_gap {m : Nat} (pattern target : Fin m → α) (scale : α) :
    normSq (fun i => target i - scale * pattern i) =
      normSq (fun i => target i - bestScale pattern target * pattern i) +
        (scale - bestScale pattern target) * (scale - bestScale pattern target) *
          normSq pattern := by
  have key : bestScale pattern target * normSq pattern = dot pattern target := by
    unfold bestScale
    by_cases h : normSq pattern = 0
    · have hz : pattern = fun _ => 0 := funext fun i => eq_zero_of_normSq_eq_zero h i
      have h0 : dot pattern target = 0 := by rw [hz, dot_comm, dot_zero_right]
      rw [h, h0]
      grind
    · grind
  rw [normSq_sub, normSq_sub, normSq_smul, normSq_smul, dot_smul_right, dot_smul_right,
    dot_comm target pattern]
  grind

/-- No scale of a fixed pattern is better than the best scale.

Python: `peelverify.bounds.peeling.best_scale` -/
theorem best_scale_optimal {m : Nat} (pattern target : Fin m → α) (scale : α) :
    normSq (fun i => target i - bestScale pattern target * pattern i) ≤
      normSq fun i => target i - scale * pattern i := by
  have h1 := best_scale_gap pattern target scale
  have h2 := mul_nonneg (mul_self_nonneg (scale - bestScale pattern target))
    (normSq_nonneg pattern)
  grind

/-- A witness of a class shows that a loss exceeds every lower bound of the class by at least the
witness gap.

Python: `peelverify.bounds.peeling.witness_gap` -/
theorem witness_gap {Network : Type v} (inClass : Network → Prop) (lossOf : Network → α)
    (loss : α) (witness : Network) (witness_mem : inClass witness) (lower : α)
    (is_lower_bound : ∀ net, inClass net → lower ≤ lossOf net) :
    witnessGap loss (lossOf witness) ≤ loss - lower := by
  have h := is_lower_bound witness witness_mem
  unfold witnessGap
  clear is_lower_bound
  grind

section Decidable

variable [DecidableLE α]

private theorem signOf_mul_self (a : α) : signOf a * signOf a = 1 := by
  unfold signOf; split <;> grind

private theorem mul_le_signOf_mul {s a : α} (h : s * s = 1) : s * a ≤ signOf a * a := by
  have hs : s = 1 ∨ s = -1 := by
    have h1 : (s - 1) * (s + 1) = 0 := by grind
    by_cases h2 : s - 1 = 0
    · exact Or.inl (by grind)
    · exact Or.inr (by grind)
  unfold signOf
  rcases hs with rfl | rfl <;> split <;> grind

/-- With orthogonal features and a fixed scale that is not negative, the signs of the inner
products with the target are the best signs.

Python: `peelverify.bounds.peeling.sign_of` -/
theorem sign_optimal_of_orthogonal {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α) {scale : α}
    (scale_nonneg : 0 ≤ scale) (s : Fin n → α) (is_sign : ∀ j, s j * s j = 1)
    (orthogonal : ∀ j k, j ≠ k → dot (fun i => Z i j) (fun i => Z i k) = 0) :
    normSq (residual Z t fun j => scale * signOf (dot (fun i => Z i j) t)) ≤
      normSq (residual Z t fun j => scale * s j) := by
  rw [normSq_residual_of_orthogonal Z t scale (fun j => signOf (dot (fun i => Z i j) t)) orthogonal,
    normSq_residual_of_orthogonal Z t scale s orthogonal]
  have h := sum_le_sum fun j => show
      scale * scale * (signOf (dot (fun i => Z i j) t) * signOf (dot (fun i => Z i j) t)) *
          (normSq fun i => Z i j) -
        2 * scale * signOf (dot (fun i => Z i j) t) * dot (fun i => Z i j) t ≤
      scale * scale * (s j * s j) * (normSq fun i => Z i j) -
        2 * scale * s j * dot (fun i => Z i j) t by
    rw [signOf_mul_self, is_sign j]
    have h1 := mul_le_mul_left scale_nonneg (mul_le_signOf_mul (a := dot (fun i => Z i j) t)
      (is_sign j))
    clear is_sign orthogonal
    grind
  clear is_sign orthogonal
  grind

private theorem ternary_term_le {scale d c s : α} (scale_nonneg : 0 ≤ scale) (d_nonneg : 0 ≤ d)
    (hs : s = -1 ∨ s = 0 ∨ s = 1) :
    scale * scale * (ternaryOf scale d c * ternaryOf scale d c) * d -
        2 * scale * ternaryOf scale d c * c ≤
      scale * scale * (s * s) * d - 2 * scale * s * c := by
  have h0 := mul_nonneg scale_nonneg d_nonneg
  unfold ternaryOf
  split
  · rename_i h
    have h1 := le_absVal c
    have h2 := neg_le_absVal c
    have h3 := mul_nonneg scale_nonneg (show 0 ≤ scale * d - 2 * c by grind)
    have h4 := mul_nonneg scale_nonneg (show 0 ≤ scale * d + 2 * c by grind)
    rcases hs with rfl | rfl | rfl <;> grind
  · rename_i h
    unfold absVal at h
    unfold signOf
    by_cases hc : 0 ≤ c
    · rw [if_pos hc] at h ⊢
      have h3 := mul_nonneg scale_nonneg (show 0 ≤ 2 * c - scale * d by grind)
      have h4 := mul_nonneg scale_nonneg hc
      rcases hs with rfl | rfl | rfl <;> grind
    · rw [if_neg hc] at h ⊢
      have h3 := mul_nonneg scale_nonneg (show 0 ≤ -(2 * c) - scale * d by grind)
      have h4 := mul_nonneg scale_nonneg (show 0 ≤ -c by grind)
      rcases hs with rfl | rfl | rfl <;> grind

/-- With orthogonal features and a fixed scale that is not negative, dropping the weights whose
inner product with the target is at most half the scale times the squared norm of the feature, and
taking the sign of the others, is the best ternary choice.

Python: `peelverify.bounds.peeling.ternary_of` -/
theorem ternary_optimal_of_orthogonal {m n : Nat} (Z : Fin m → Fin n → α) (t : Fin m → α)
    {scale : α} (scale_nonneg : 0 ≤ scale) (s : Fin n → α)
    (is_ternary : ∀ j, s j = -1 ∨ s j = 0 ∨ s j = 1)
    (orthogonal : ∀ j k, j ≠ k → dot (fun i => Z i j) (fun i => Z i k) = 0) :
    normSq (residual Z t fun j =>
        scale * ternaryOf scale (normSq fun i => Z i j) (dot (fun i => Z i j) t)) ≤
      normSq (residual Z t fun j => scale * s j) := by
  rw [normSq_residual_of_orthogonal Z t scale
      (fun j => ternaryOf scale (normSq fun i => Z i j) (dot (fun i => Z i j) t)) orthogonal,
    normSq_residual_of_orthogonal Z t scale s orthogonal]
  have h := sum_le_sum fun j => ternary_term_le (c := dot (fun i => Z i j) t) scale_nonneg
    (normSq_nonneg fun i => Z i j) (is_ternary j)
  clear is_ternary orthogonal
  grind

/-- Replacing negative outputs by zero never increases the distance to targets that are not
negative.

Python: `peelverify.bounds.peeling.relu` -/
theorem relu_closer_of_nonneg {n : Nat} (x target : Fin n → α) (target_nonneg : ∀ i, 0 ≤ target i) :
    normSq (fun i => relu x i - target i) ≤ normSq fun i => x i - target i := by
  refine sum_le_sum fun i => ?_
  have h := target_nonneg i
  unfold relu maxVal
  dsimp only
  split
  · exact Std.le_refl _
  · have h1 := mul_nonneg h (show 0 ≤ -x i by grind)
    have h2 := mul_self_nonneg (x i)
    clear target_nonneg
    grind

/-- The minimum of a suite is at most each of its values.

Python: `peelverify.bounds.peeling.suite_min` -/
theorem suiteMin_le (first : α) (rest : List α) : ∀ x ∈ first :: rest, suiteMin first rest ≤ x := by
  induction rest with
  | nil =>
    intro x hx
    simp only [List.mem_cons, List.not_mem_nil, or_false] at hx
    rw [hx]
    exact Std.le_refl _
  | cons y rest ih =>
    intro x hx
    simp only [List.mem_cons] at hx
    unfold suiteMin
    rcases hx with rfl | rfl | hx
    · exact Std.le_trans (minVal_le_right _ _) (ih _ List.mem_cons_self)
    · exact minVal_le_left _ _
    · exact Std.le_trans (minVal_le_right _ _) (ih x (List.mem_cons_of_mem _ hx))

/-- The minimum of a suite is one of its values.

Python: `peelverify.bounds.peeling.suite_min` -/
theorem suiteMin_mem (first : α) (rest : List α) : suiteMin first rest ∈ first :: rest := by
  induction rest with
  | nil => exact List.mem_cons_self
  | cons y rest ih =>
    unfold suiteMin minVal
    simp only [List.mem_cons] at ih ⊢
    split
    · exact Or.inr (Or.inl rfl)
    · rcases ih with h | h
      · exact Or.inl h
      · exact Or.inr (Or.inr h)

/-- A larger suite of witnesses has no larger minimum.

Python: `peelverify.bounds.peeling.suite_min` -/
theorem suiteMin_mono (first first' : α) (rest rest' : List α)
    (subset : ∀ x ∈ first :: rest, x ∈ first' :: rest') :
    suiteMin first' rest' ≤ suiteMin first rest :=
  suiteMin_le first' rest' _ (subset _ (suiteMin_mem first rest))

end Decidable

end Order

section Examples

private abbrev feat : Fin 2 → Fin 2 → Rat := mat [[1, 1], [1, -1]]
private abbrev target : Fin 2 → Rat := vec [3, 1]
private abbrev tall : Fin 2 → Fin 1 → Rat := mat [[1], [1]]

example : ∀ i, residual tall target (vec [2]) i = (vec [1, -1] : Fin 2 → Rat) i := by
  decide +kernel
example : ∀ j, normalEquationResidual tall target (vec [1]) j = 2 := by decide +kernel
example : pythagoreanGap tall (vec [3]) (vec [2]) = 2 := by decide +kernel
example : dualLowerBoundSq (vec [1, -1]) target = 2 := by decide +kernel
example : bestScale (vec [1, 1]) target = 2 := by decide +kernel
example : bestScale (vec [0, 0]) target = 0 := by decide +kernel
example : flipChange (1 : Rat) 1 2 2 = 16 := by decide +kernel
example : ridgeLoss tall target 1 (vec [4 / 3]) = 14 / 3 := by decide +kernel
example : witnessGap (3 : Rat) 1 = 2 := by decide +kernel
example : signOf (-2 : Rat) = -1 := by decide +kernel
example : ternaryOf (1 : Rat) 2 1 = 0 := by decide +kernel
example : ternaryOf (1 : Rat) 2 (-3) = -1 := by decide +kernel
example : ∀ i, relu (vec [-1, 2] : Fin 2 → Rat) i = (vec [0, 2] : Fin 2 → Rat) i := by
  decide +kernel
example : suiteMin (3 : Rat) [5, 1, 2] = 1 := by decide +kernel
example : suiteMin (3 : Rat) [] = 3 := by decide +kernel

example (w : Fin 1 → Rat) :
    normSq (residual tall target (vec [2])) ≤ normSq (residual tall target w) :=
  normal_equations_optimal tall target w (vec [2]) (by decide +kernel)
example (w : Fin 1 → Rat) : (2 : Rat) ≤ normSq (residual tall target w) := by
  have h := dualLowerBoundSq_le tall target (vec [1, -1]) w (by decide +kernel) (by decide +kernel)
  have e : dualLowerBoundSq (vec [1, -1]) target = 2 := by decide +kernel
  rw [e] at h
  exact h
example (w : Fin 1 → Rat) : ridgeLoss tall target 1 (vec [4 / 3]) ≤ ridgeLoss tall target 1 w := by
  have h := ridge_gap tall target 1 w (vec [4 / 3]) (by decide +kernel)
  have h1 : 0 ≤ pythagoreanGap tall w (vec [4 / 3]) := normSq_nonneg _
  have h2 := normSq_nonneg fun j => w j - (vec [4 / 3] : Fin 1 → Rat) j
  grind
example (s : Fin 2 → Rat) (hs : ∀ j, s j * s j = 1) :
    normSq (residual feat target fun j => 1 * signOf (dot (fun i => feat i j) target)) ≤
      normSq (residual feat target fun j => 1 * s j) :=
  sign_optimal_of_orthogonal feat target (by decide +kernel) s hs (by decide +kernel)
example (s : Fin 2 → Rat) (hs : ∀ j, s j = -1 ∨ s j = 0 ∨ s j = 1) :
    normSq (residual feat target fun j => 1 *
        ternaryOf 1 (normSq fun i => feat i j) (dot (fun i => feat i j) target)) ≤
      normSq (residual feat target fun j => 1 * s j) :=
  ternary_optimal_of_orthogonal feat target (by decide +kernel) s hs (by decide +kernel)
example : normSq (residual feat target fun j => 1 * (vec [1, -1] : Fin 2 → Rat) j) =
    normSq (residual feat target fun j => 1 * (vec [1, 1] : Fin 2 → Rat) j) +
      flipChange 1 1 0 2 := by
  have h := flip_identity feat target 1 (vec [1, 1]) (vec [1, -1]) 1 (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
  have h1 : (vec [1, 1] : Fin 2 → Rat) 1 = 1 := by decide +kernel
  have h2 : dot (fun i => feat i 1)
      (residual feat target fun j => 1 * (vec [1, 1] : Fin 2 → Rat) j) = 0 := by decide +kernel
  have h3 : (normSq fun i => feat i 1) = 2 := by decide +kernel
  rw [h1, h2, h3] at h
  exact h
example : normSq (fun i => relu (vec [-1, 2] : Fin 2 → Rat) i - target i) ≤
    normSq fun i => (vec [-1, 2] : Fin 2 → Rat) i - target i :=
  relu_closer_of_nonneg _ _ (by decide +kernel)
example : suiteMin (5 : Rat) [3, 1] ≤ suiteMin 5 [3] :=
  suiteMin_mono _ _ _ _ (by decide +kernel)
example : witnessGap (3 : Rat) 1 ≤ 3 - 0 :=
  witness_gap (fun x : Rat => 0 ≤ x) (fun x => x) 3 1 (by decide +kernel) 0 fun _ h => h
example (w : Fin 1 → Rat) : normSq (residual tall target w) =
    normSq (residual tall target (vec [2])) + pythagoreanGap tall w (vec [2]) :=
  least_squares_gap tall target w (vec [2]) (by decide +kernel)
example (w : Fin 1 → Rat) : dot (vec [1, -1]) target * dot (vec [1, -1]) target ≤
    normSq (vec [1, -1] : Fin 2 → Rat) * normSq (residual tall target w) :=
  weak_duality tall target (vec [1, -1]) w (by decide +kernel)
example (w : Fin 1 → Rat) : 2 * normSq (residual tall target (vec [1])) -
    normSq (normalEquationResidual tall target (vec [1])) ≤ 2 * normSq (residual tall target w) :=
  weak_duality_of_strong_convexity tall target w (vec [1]) (by decide +kernel) fun v => by
    have e : normSq (mulVec tall v) = v 0 * v 0 + (v 0 * v 0 + 0) := by
      have h : ∀ i : Fin 2, mulVec tall v i = 1 * v 0 + 0 := fun i => by
        match i with
        | 0 => rfl
        | 1 => rfl
      unfold normSq dot
      simp only [sum_succ, sum_zero, h]
      grind
    have e2 : normSq v = v 0 * v 0 + 0 := rfl
    rw [e, e2]
    grind
example (w : Fin 1 → Rat) (hw : Norm2Le w 2) :
    (dot (vec [1, -3 / 4]) target - 1 / 4 * 2) * (dot (vec [1, -3 / 4]) target - 1 / 4 * 2) ≤
      normSq (vec [1, -3 / 4] : Fin 2 → Rat) * normSq (residual tall target w) :=
  weak_duality_of_bounded tall target (vec [1, -3 / 4]) w hw
    (by unfold Norm2Le; decide +kernel) (by decide +kernel)
example (w : Fin 1 → Rat) : 1 * ridgeLoss tall target 1 (vec [1]) -
    normSq (fun j => normalEquationResidual tall target (vec [1]) j -
      1 * (vec [1] : Fin 1 → Rat) j) ≤ 1 * ridgeLoss tall target 1 w :=
  weak_duality_ridge tall target w (vec [1]) (by decide +kernel)
example : normSq (residual tall target (vec [4 / 3])) - normSq (residual tall target (vec [2])) ≤
    1 * (normSq (vec [2] : Fin 1 → Rat) - normSq (vec [4 / 3] : Fin 1 → Rat)) :=
  ridge_residual_gap_le tall target (by decide +kernel) (vec [4 / 3]) (vec [2]) (by decide +kernel)
example (scale : Rat) : normSq (fun i => target i - bestScale (vec [1, 1]) target *
      (vec [1, 1] : Fin 2 → Rat) i) ≤
    normSq fun i => target i - scale * (vec [1, 1] : Fin 2 → Rat) i :=
  best_scale_optimal (vec [1, 1]) target scale
example : normSq (fun i => target i - 1 * (vec [1, 1] : Fin 2 → Rat) i) =
    normSq (fun i => target i - bestScale (vec [1, 1]) target * (vec [1, 1] : Fin 2 → Rat) i) +
      (1 - bestScale (vec [1, 1]) target) * (1 - bestScale (vec [1, 1]) target) *
        normSq (vec [1, 1] : Fin 2 → Rat) :=
  best_scale_gap (vec [1, 1]) target 1
example : ∀ x ∈ ([3, 5, 1] : List Rat), suiteMin 3 [5, 1] ≤ x := suiteMin_le 3 [5, 1]
example : suiteMin (3 : Rat) [5, 1] ∈ [3, 5, 1] := suiteMin_mem 3 [5, 1]

end Examples

end PeelVerify
