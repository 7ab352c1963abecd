module

public import Proofs.Vector

/-!
# Matrices and bounds on their operator norms

Matrices are functions `Fin m → Fin n → α`. `OpNorm2Le A c` says that `A` lengthens no vector by
more than the factor `c`; `FrobLe A c` says that the Frobenius norm is at most `c`. Both are said
with squares, so that rational numbers can check them.

## Main results

* `normSq_mulVec_le`, `frobSq_mul_le`, `FrobLe.add`: Frobenius norms.
* `OpNorm2Le.add`, `OpNorm2Le.mul`, `OpNorm2Le.one_add`, `OpNorm2Le.of_frob`: operator norms of
  sums, products, residual blocks, and from a Frobenius norm.
* `opNorm2Le_of_schur`: the Schur test from row and column sums.
* `opNorm2Le_of_spectral_certificate`: a checkable certificate for an operator norm.
* `opNorm2Le_of_gram`, `opNorm2Le_of_gram_chain`: Gram iteration.

## Assumptions

A linearly ordered field. Absolute values decide `≤`.

## References

The Schur test is classical. Gram iteration: arXiv 2305.16173.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u}

section Definitions

variable [Field α]

/-- The matrix with the listed rows; entries beyond the end of a list are zero.

Python: none (a literal) -/
def mat {m n : Nat} (rows : List (List α)) : Fin m → Fin n → α :=
  fun i j => (rows.getD i []).getD j 0

/-- A matrix times a vector.

Python: `peelverify.bounds.matrix.mul_vec` -/
def mulVec {m n : Nat} (A : Fin m → Fin n → α) (x : Fin n → α) : Fin m → α := fun i => dot (A i) x

/-- The product of two matrices.

Python: `peelverify.bounds.matrix.mat_mul` -/
def matMul {m n p : Nat} (A : Fin m → Fin n → α) (B : Fin n → Fin p → α) : Fin m → Fin p → α :=
  fun i j => dot (A i) fun k => B k j

/-- The transposed matrix.

Python: `peelverify.bounds.matrix.transpose` -/
def transpose {m n : Nat} (A : Fin m → Fin n → α) : Fin n → Fin m → α := fun j i => A i j

/-- The squared Frobenius norm: the sum of the squares of all entries.

Python: `peelverify.bounds.matrix.frob_sq` -/
def frobSq {m n : Nat} (A : Fin m → Fin n → α) : α := sum fun i => normSq (A i)

/-- The Frobenius norm of `A` is at most `c`.

Python: `peelverify.bounds.matrix.frob_le` -/
def FrobLe [LE α] {m n : Nat} (A : Fin m → Fin n → α) (c : α) : Prop :=
  0 ≤ c ∧ frobSq A ≤ c * c

/-- The matrix `A` makes no vector longer than `c` times its length.

Python: none (a statement about every vector; `spectral_certificate` checks it) -/
def OpNorm2Le [LE α] {m n : Nat} (A : Fin m → Fin n → α) (c : α) : Prop :=
  0 ≤ c ∧ ∀ x : Fin n → α, normSq (mulVec A x) ≤ c * c * normSq x

/-- The Gram matrix `AᵀA`.

Python: `peelverify.bounds.matrix.gram` -/
def gram {m n : Nat} (A : Fin m → Fin n → α) : Fin n → Fin n → α := matMul (transpose A) A

/-- A square matrix `D` is diagonally dominant in the sense of the spectral certificate: each
row's absolute values, its own diagonal entry included, sum to at most twice that entry.

Python: `peelverify.bounds.matrix.diagonally_dominant` -/
def DiagonallyDominant [LE α] [DecidableLE α] {n : Nat} (D : Fin n → Fin n → α) : Prop :=
  ∀ i, (sum fun j => absVal (D i j)) ≤ 2 * D i i

end Definitions

section Ring

variable [Field α]

/-- A matrix times a sum of vectors is the sum of the products.

Python: none (supporting lemma) -/
theorem mulVec_add {m n : Nat} (A : Fin m → Fin n → α) (x y : Fin n → α) :
    mulVec A (fun j => x j + y j) = fun i => mulVec A x i + mulVec A y i :=
  funext fun i => dot_add_right (A i) x y

/-- A matrix times a difference of vectors is the difference of the products.

Python: none (supporting lemma) -/
theorem mulVec_sub {m n : Nat} (A : Fin m → Fin n → α) (x y : Fin n → α) :
    mulVec A (fun j => x j - y j) = fun i => mulVec A x i - mulVec A y i :=
  funext fun i => dot_sub_right (A i) x y

/-- A factor on the vector moves out of a matrix-vector product.

Python: none (supporting lemma) -/
theorem mulVec_smul {m n : Nat} (A : Fin m → Fin n → α) (a : α) (x : Fin n → α) :
    mulVec A (fun j => a * x j) = fun i => a * mulVec A x i :=
  funext fun i => dot_smul_right a (A i) x

/-- A sum of matrices times a vector is the sum of the products.

Python: none (supporting lemma) -/
theorem add_mulVec {m n : Nat} (A B : Fin m → Fin n → α) (x : Fin n → α) :
    mulVec (fun i j => A i j + B i j) x = fun i => mulVec A x i + mulVec B x i :=
  funext fun i => dot_add_left (A i) (B i) x

/-- A difference of matrices times a vector is the difference of the products.

Python: none (supporting lemma) -/
theorem sub_mulVec {m n : Nat} (A B : Fin m → Fin n → α) (x : Fin n → α) :
    mulVec (fun i j => A i j - B i j) x = fun i => mulVec A x i - mulVec B x i :=
  funext fun i => dot_sub_left (A i) (B i) x

/-- Moving a matrix from one side of an inner product to the other transposes it.

Python: none (supporting lemma) -/
theorem dot_mulVec {m n : Nat} (A : Fin m → Fin n → α) (x : Fin n → α) (y : Fin m → α) :
    dot (mulVec A x) y = dot x (mulVec (transpose A) y) := by
  have h1 : dot (mulVec A x) y = sum fun i => sum fun j => A i j * x j * y i :=
    sum_congr fun i => by unfold mulVec dot; rw [← sum_mul_right]
  have h2 : dot x (mulVec (transpose A) y) = sum fun j => sum fun i => A i j * x j * y i :=
    sum_congr fun j => by
      unfold mulVec dot transpose
      rw [← sum_mul_left]
      exact sum_congr fun i => by grind
  rw [h1, h2, sum_comm]

/-- Multiplying by a product is multiplying twice.

Python: none (supporting lemma) -/
theorem mulVec_matMul {m n p : Nat} (A : Fin m → Fin n → α) (B : Fin n → Fin p → α)
    (x : Fin p → α) : mulVec (matMul A B) x = mulVec A (mulVec B x) := by
  funext i
  have h1 : mulVec (matMul A B) x i = sum fun j => sum fun k => A i k * B k j * x j :=
    sum_congr fun j => by unfold matMul dot; rw [← sum_mul_right]
  have h2 : mulVec A (mulVec B x) i = sum fun k => sum fun j => A i k * B k j * x j :=
    sum_congr fun k => by
      unfold mulVec dot
      rw [← sum_mul_left]
      exact sum_congr fun j => by grind
  rw [h1, h2, sum_comm]

/-- The squared length of `Ax` is the quadratic form of the Gram matrix.

Python: none (supporting lemma) -/
theorem normSq_mulVec {m n : Nat} (A : Fin m → Fin n → α) (x : Fin n → α) :
    normSq (mulVec A x) = dot x (mulVec (gram A) x) := by
  unfold normSq gram
  rw [dot_mulVec, mulVec_matMul]

/-- A matrix and its transpose have the same Frobenius norm.

Python: `peelverify.bounds.matrix.frob_sq` -/
theorem frobSq_transpose {m n : Nat} (A : Fin m → Fin n → α) :
    frobSq (transpose A) = frobSq A := by
  unfold frobSq normSq dot transpose
  exact sum_comm fun j i => A i j * A i j

end Ring

section Order

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- A squared Frobenius norm is not negative.

Python: none (supporting lemma) -/
theorem frobSq_nonneg {m n : Nat} (A : Fin m → Fin n → α) : 0 ≤ frobSq A :=
  sum_nonneg fun i => normSq_nonneg (A i)

/-- The squared length of `Ax` is at most the squared Frobenius norm times the squared length of
`x`.

Python: `peelverify.bounds.matrix.mul_vec_sq_upper` -/
theorem normSq_mulVec_le {m n : Nat} (A : Fin m → Fin n → α) (x : Fin n → α) :
    normSq (mulVec A x) ≤ frobSq A * normSq x := by
  unfold frobSq
  rw [← sum_mul_right]
  exact sum_le_sum fun i => dot_sq_le_normSq_mul_normSq (A i) x

/-- The squared Frobenius norm of a product is at most the product of the squared Frobenius norms.

Python: `peelverify.bounds.matrix.frob_sq_mul_upper` -/
theorem frobSq_mul_le {m n p : Nat} (A : Fin m → Fin n → α) (B : Fin n → Fin p → α) :
    frobSq (matMul A B) ≤ frobSq A * frobSq B := by
  have h : ∀ i, normSq (matMul A B i) ≤ normSq (A i) * frobSq B := by
    intro i
    rw [← frobSq_transpose B]
    unfold frobSq
    rw [← sum_mul_left]
    exact sum_le_sum fun j => dot_sq_le_normSq_mul_normSq (A i) fun k => B k j
  have e : frobSq A * frobSq B = sum fun i => normSq (A i) * frobSq B := by
    rw [sum_mul_right]; rfl
  rw [e]
  exact sum_le_sum h

private theorem frobSq_add_smul {m n : Nat} (A B : Fin m → Fin n → α) (a b : α) :
    frobSq (fun i j => b * A i j - a * B i j) =
      b * b * frobSq A - 2 * (a * b * sum fun i => dot (A i) (B i)) + a * a * frobSq B := by
  have h : ∀ i, normSq (fun j => b * A i j - a * B i j) =
      b * b * normSq (A i) - 2 * a * b * dot (A i) (B i) + a * a * normSq (B i) := by
    intro i
    rw [normSq_sub, normSq_smul, normSq_smul, dot_smul_left, dot_smul_right]
    grind
  have h2 : frobSq (fun i j => b * A i j - a * B i j) = sum fun i =>
      b * b * normSq (A i) - 2 * a * b * dot (A i) (B i) + a * a * normSq (B i) := sum_congr h
  rw [h2, sum_add, sum_sub, sum_mul_left, sum_mul_left, sum_mul_left]
  unfold frobSq
  grind

/-- Triangle inequality for Frobenius norms: bounds add up.

Python: `peelverify.bounds.matrix.frob_add_upper` -/
theorem FrobLe.add {m n : Nat} {A B : Fin m → Fin n → α} {a b : α} (hA : FrobLe A a)
    (hB : FrobLe B b) : FrobLe (fun i j => A i j + B i j) (a + b) := by
  have ha := hA.1
  have hb := hB.1
  have hab := mul_nonneg ha hb
  have cs : (sum fun i => dot (A i) (B i)) * (sum fun i => dot (A i) (B i)) ≤
      frobSq A * frobSq B := by
    refine sq_le_mul_of_quadratic_nonneg fun s t => ?_
    rw [← frobSq_add_smul]
    exact frobSq_nonneg _
  have h1 := mul_le_mul hA.2 hB.2 (frobSq_nonneg B) (mul_self_nonneg a)
  have h2 : (sum fun i => dot (A i) (B i)) ≤ a * b :=
    le_of_mul_self_le_mul_self hab (by grind)
  have h3 := frobSq_add_smul A B (-1) 1
  have h4 : (fun i j => 1 * A i j - -1 * B i j) = fun i j => A i j + B i j :=
    funext fun i => funext fun j => by grind
  rw [h4] at h3
  have hA2 := hA.2
  have hB2 := hB.2
  exact ⟨by grind, by grind⟩

/-- A bound on a Frobenius norm bounds how much the matrix can lengthen a vector.

Python: `peelverify.bounds.matrix.frob_le` -/
theorem OpNorm2Le.of_frob {m n : Nat} {A : Fin m → Fin n → α} {c : α} (hA : FrobLe A c) :
    OpNorm2Le A c :=
  ⟨hA.1, fun x => Std.le_trans (normSq_mulVec_le A x)
    (mul_le_mul hA.2 (Std.le_refl _) (normSq_nonneg x) (mul_self_nonneg c))⟩

/-- An operator norm bound turns a bound on `x` into a bound on `Ax`.

Python: `peelverify.bounds.matrix.op_norm2_mul_upper` -/
theorem OpNorm2Le.norm2Le_mulVec {m n : Nat} {A : Fin m → Fin n → α} {c b : α} {x : Fin n → α}
    (hA : OpNorm2Le A c) (hx : Norm2Le x b) : Norm2Le (mulVec A x) (c * b) := by
  refine ⟨mul_nonneg hA.1 hx.1, ?_⟩
  have h1 := hA.2 x
  have h2 := mul_le_mul_left (mul_self_nonneg c) hx.2
  have h3 : c * c * (b * b) = c * b * (c * b) := by grind
  rw [← h3]
  exact Std.le_trans h1 h2

private theorem norm2_add_sq {X Y P a b s : α} (ha : 0 ≤ a) (hb : 0 ≤ b) (hs : 0 ≤ s)
    (hX : X ≤ a * a * s) (hY : Y ≤ b * b * s) (hYn : 0 ≤ Y) (hP : P * P ≤ X * Y) :
    X + 2 * P + Y ≤ (a + b) * (a + b) * s := by
  have h0 : 0 ≤ a * a * s := mul_nonneg (mul_nonneg ha ha) hs
  have h1 : X * Y ≤ a * a * s * (b * b * s) := mul_le_mul hX hY hYn h0
  have h2 : 0 ≤ a * b * s := mul_nonneg (mul_nonneg ha hb) hs
  have h3 : P ≤ a * b * s := le_of_mul_self_le_mul_self h2 (by
    have e : a * b * s * (a * b * s) = a * a * s * (b * b * s) := by grind
    rw [e]
    exact Std.le_trans hP h1)
  grind

/-- Operator norm bounds of two matrices add up to a bound for their sum.

Python: `peelverify.bounds.matrix.op_norm2_add_upper` -/
theorem OpNorm2Le.add {m n : Nat} {A B : Fin m → Fin n → α} {a b : α} (hA : OpNorm2Le A a)
    (hB : OpNorm2Le B b) : OpNorm2Le (fun i j => A i j + B i j) (a + b) := by
  have ha := hA.1
  have hb := hB.1
  refine ⟨by grind, fun x => ?_⟩
  rw [add_mulVec, normSq_add]
  exact norm2_add_sq ha hb (normSq_nonneg x) (hA.2 x) (hB.2 x) (normSq_nonneg _)
    (dot_sq_le_normSq_mul_normSq _ _)

/-- Operator norm bounds of two matrices multiply to a bound for their product.

Python: `peelverify.bounds.matrix.op_norm2_mul_upper` -/
theorem OpNorm2Le.mul {m n p : Nat} {A : Fin m → Fin n → α} {B : Fin n → Fin p → α} {a b : α}
    (hA : OpNorm2Le A a) (hB : OpNorm2Le B b) : OpNorm2Le (matMul A B) (a * b) := by
  refine ⟨mul_nonneg hA.1 hB.1, fun x => ?_⟩
  rw [mulVec_matMul]
  have h1 := hA.2 (mulVec B x)
  have h2 := mul_le_mul_left (mul_self_nonneg a) (hB.2 x)
  have e : a * b * (a * b) * normSq x = a * a * (b * b * normSq x) := by grind
  rw [e]
  exact Std.le_trans h1 h2

/-- A residual block `x + Ax` lengthens no vector by more than `1 + a`.

Python: `peelverify.bounds.matrix.residual_upper` -/
theorem OpNorm2Le.one_add {n : Nat} {A : Fin n → Fin n → α} {a : α} (hA : OpNorm2Le A a)
    (x : Fin n → α) :
    normSq (fun i => x i + mulVec A x i) ≤ (1 + a) * (1 + a) * normSq x := by
  have h1 : (0 : α) ≤ 1 := by have := mul_self_nonneg (1 : α); grind
  rw [normSq_add]
  exact norm2_add_sq h1 hA.1 (normSq_nonneg x) (by grind) (hA.2 x) (normSq_nonneg _)
    (dot_sq_le_normSq_mul_normSq _ _)

/-- An operator norm bound may be replaced by a larger one.

Python: none (supporting lemma) -/
theorem OpNorm2Le.mono {m n : Nat} {A : Fin m → Fin n → α} {a b : α} (hA : OpNorm2Le A a)
    (hab : a ≤ b) : OpNorm2Le A b := by
  have h1 := mul_self_le_mul_self hA.1 hab
  refine ⟨Std.le_trans hA.1 hab, fun x => ?_⟩
  exact Std.le_trans (hA.2 x) (mul_le_mul h1 (Std.le_refl _) (normSq_nonneg x) (mul_self_nonneg b))

/-- A matrix and its transpose have the same operator norm bounds.

Python: none (a matrix and its transpose share one bound) -/
theorem OpNorm2Le.transpose {m n : Nat} {A : Fin m → Fin n → α} {a : α} (hA : OpNorm2Le A a) :
    OpNorm2Le (PeelVerify.transpose A) a := by
  refine ⟨hA.1, fun y => ?_⟩
  have h1 : normSq (mulVec (PeelVerify.transpose A) y) =
      dot (mulVec A (mulVec (PeelVerify.transpose A) y)) y := by
    rw [dot_mulVec]; rfl
  have h2 := dot_sq_le_normSq_mul_normSq (mulVec A (mulVec (PeelVerify.transpose A) y)) y
  rw [← h1] at h2
  have h3 := mul_le_mul (hA.2 (mulVec (PeelVerify.transpose A) y)) (Std.le_refl (normSq y))
    (normSq_nonneg y) (mul_nonneg (mul_self_nonneg a) (normSq_nonneg _))
  have h4 : 0 ≤ normSq (mulVec (PeelVerify.transpose A) y) := normSq_nonneg _
  by_cases h5 : normSq (mulVec (PeelVerify.transpose A) y) = 0
  · rw [h5]
    exact mul_nonneg (mul_self_nonneg a) (normSq_nonneg y)
  · refine le_of_mul_le_mul_left (c := normSq (mulVec (PeelVerify.transpose A) y)) (by grind) ?_
    have h6 := Std.le_trans h2 h3
    have e : a * a * normSq (mulVec (PeelVerify.transpose A) y) * normSq y =
        normSq (mulVec (PeelVerify.transpose A) y) * (a * a * normSq y) := by grind
    rw [e] at h6
    exact h6

/-- One step of Gram iteration: a bound `g` for `AᵀA` gives every `c` with `g ≤ c * c` as a bound
for `A`.

Python: `peelverify.bounds.matrix.gram_iteration_check` -/
theorem opNorm2Le_of_gram {m n : Nat} {A : Fin m → Fin n → α} {g c : α} (c_nonneg : 0 ≤ c)
    (gram_le : OpNorm2Le (gram A) g) (le_sq : g ≤ c * c) : OpNorm2Le A c := by
  refine ⟨c_nonneg, fun x => ?_⟩
  rw [normSq_mulVec]
  have hs := normSq_nonneg x
  have h1 := dot_sq_le_normSq_mul_normSq x (mulVec (gram A) x)
  have h2 := mul_le_mul_left hs (gram_le.2 x)
  have h3 : dot x (mulVec (gram A) x) ≤ g * normSq x :=
    le_of_mul_self_le_mul_self (mul_nonneg gram_le.1 hs) (by grind)
  have h4 := mul_le_mul le_sq (Std.le_refl (normSq x)) hs (mul_self_nonneg c)
  exact Std.le_trans h3 h4

/-- Gram iteration: if each matrix of the list is the Gram matrix of the one before it, and the
last one has Frobenius norm at most `bound (number of steps)`, and every bound is at most the
square of the bound before it, then the first bound holds for the first matrix.

Python: `peelverify.bounds.matrix.gram_iteration_check` -/
theorem opNorm2Le_of_gram_chain {n : Nat} (steps : Nat) (iterate : Nat → Fin n → Fin n → α)
    (bound : Nat → α) (bound_nonneg : ∀ k, k ≤ steps → 0 ≤ bound k)
    (is_gram : ∀ k, k < steps → iterate (k + 1) = gram (iterate k))
    (last : FrobLe (iterate steps) (bound steps))
    (bound_le_sq : ∀ k, k < steps → bound (k + 1) ≤ bound k * bound k) :
    OpNorm2Le (iterate 0) (bound 0) := by
  induction steps generalizing iterate bound with
  | zero => exact OpNorm2Le.of_frob last
  | succ s ih =>
    have h := ih (fun k => iterate (k + 1)) (fun k => bound (k + 1))
      (fun k hk => bound_nonneg (k + 1) (Nat.succ_le_succ hk))
      (fun k hk => is_gram (k + 1) (Nat.succ_lt_succ hk)) last
      (fun k hk => bound_le_sq (k + 1) (Nat.succ_lt_succ hk))
    have e : iterate 1 = gram (iterate 0) := is_gram 0 (Nat.zero_lt_succ _)
    have h' : OpNorm2Le (gram (iterate 0)) (bound 1) := by rw [← e]; exact h
    exact opNorm2Le_of_gram (bound_nonneg 0 (Nat.zero_le _)) h'
      (bound_le_sq 0 (Nat.zero_lt_succ _))

section Decidable

variable [DecidableLE α]

/-- Check bounds by Gram iteration: the first bound is for `A`, each next one for the Gram matrix of
the matrix before, and the last one is checked by its Frobenius norm.

Python: `peelverify.bounds.matrix.gram_iteration_check` -/
def gramCheck {m n : Nat} (A : Fin m → Fin n → α) : List α → Bool
  | [] => false
  | [c] => decide (0 ≤ c) && decide (frobSq A ≤ c * c)
  | c :: g :: rest => decide (0 ≤ c) && decide (g ≤ c * c) && gramCheck (gram A) (g :: rest)

/-- Bounds that pass `gramCheck` prove that the first one bounds the operator norm.

Python: `peelverify.bounds.matrix.gram_iteration_check` -/
theorem opNorm2Le_of_gramCheck {m n : Nat} {A : Fin m → Fin n → α} {c : α} {rest : List α}
    (passes : gramCheck A (c :: rest) = true) : OpNorm2Le A c := by
  induction rest generalizing m c with
  | nil =>
    simp only [gramCheck, Bool.and_eq_true, decide_eq_true_eq] at passes
    exact OpNorm2Le.of_frob passes
  | cons g rest ih =>
    simp only [gramCheck, Bool.and_eq_true, decide_eq_true_eq] at passes
    exact opNorm2Le_of_gram passes.1.1 (ih passes.2) passes.1.2

/-- Schur test: if every row has absolute sum at most `r`, every column at most `k`, and
`r * k ≤ c * c`, then `c` bounds the operator norm.

Python: `peelverify.bounds.matrix.schur_upper_sq` -/
theorem opNorm2Le_of_schur {m n : Nat} {A : Fin m → Fin n → α} {r k c : α} (c_nonneg : 0 ≤ c)
    (row_sum_le : ∀ i, (sum fun j => absVal (A i j)) ≤ r)
    (col_sum_le : ∀ j, (sum fun i => absVal (A i j)) ≤ k) (k_nonneg : 0 ≤ k) (r_nonneg : 0 ≤ r)
    (product_le : r * k ≤ c * c) : OpNorm2Le A c := by
  -- more lines than usual: one weighted Cauchy–Schwarz for the rows, one exchange of sums
  refine ⟨c_nonneg, fun x => ?_⟩
  have row : ∀ i, dot (A i) x * dot (A i) x ≤
      r * sum fun j => absVal (A i j) * (x j * x j) := by
    intro i
    have q : dot (A i) x * dot (A i) x ≤
        (sum fun j => absVal (A i j)) * sum fun j => absVal (A i j) * (x j * x j) := by
      have hq : (sum fun j => absVal (A i j) * absVal (x j)) *
          (sum fun j => absVal (A i j) * absVal (x j)) ≤
          (sum fun j => absVal (A i j)) * sum fun j => absVal (A i j) * (x j * x j) := by
        refine sq_le_mul_of_quadratic_nonneg fun a b => ?_
        have e : b * b * (sum fun j => absVal (A i j)) -
            2 * (a * b * sum fun j => absVal (A i j) * absVal (x j)) +
            a * a * (sum fun j => absVal (A i j) * (x j * x j)) =
            sum fun j => absVal (A i j) * ((b - a * absVal (x j)) * (b - a * absVal (x j))) := by
          have h2 : 2 * (a * b * sum fun j => absVal (A i j) * absVal (x j)) =
              2 * a * b * sum fun j => absVal (A i j) * absVal (x j) := by grind
          rw [h2, ← sum_mul_left, ← sum_mul_left, ← sum_mul_left, ← sum_sub, ← sum_add]
          refine sum_congr fun j => ?_
          have := absVal_mul_self (x j)
          grind
        rw [e]
        exact sum_nonneg fun j => mul_nonneg (absVal_nonneg _) (mul_self_nonneg _)
      have h1 : absVal (dot (A i) x) ≤ sum fun j => absVal (A i j) * absVal (x j) := by
        refine Std.le_trans (absVal_sum_le _) ?_
        exact sum_le_sum fun j => by rw [absVal_mul]; exact Std.le_refl _
      have h2 := mul_self_le_mul_self (absVal_nonneg _) h1
      rw [absVal_mul_self] at h2
      exact Std.le_trans h2 hq
    exact Std.le_trans q (mul_le_mul (row_sum_le i) (Std.le_refl _)
      (sum_nonneg fun j => mul_nonneg (absVal_nonneg _) (mul_self_nonneg _)) r_nonneg)
  have total : normSq (mulVec A x) ≤
      sum fun i => r * sum fun j => absVal (A i j) * (x j * x j) := sum_le_sum row
  have cols : (sum fun i => sum fun j => absVal (A i j) * (x j * x j)) ≤ k * normSq x := by
    rw [sum_comm]
    unfold normSq dot
    rw [← sum_mul_left]
    refine sum_le_sum fun j => ?_
    rw [sum_mul_right]
    exact mul_le_mul (col_sum_le j) (Std.le_refl _) (mul_self_nonneg _) k_nonneg
  rw [sum_mul_left] at total
  have h1 := mul_le_mul_left r_nonneg cols
  have h2 := mul_le_mul product_le (Std.le_refl (normSq x)) (normSq_nonneg x) (mul_self_nonneg c)
  have e : r * (k * normSq x) = r * k * normSq x := by grind
  rw [e] at h1
  exact Std.le_trans total (Std.le_trans h1 h2)

/-- The quadratic form of a symmetric diagonally dominant matrix is never negative.

Python: `peelverify.bounds.matrix.diagonally_dominant` -/
theorem dot_mulVec_nonneg_of_diagonallyDominant {n : Nat} {D : Fin n → Fin n → α}
    (symmetric : ∀ i j, D i j = D j i) (dominant : DiagonallyDominant D) (x : Fin n → α) :
    0 ≤ dot x (mulVec D x) := by
  -- more lines than usual: the inequality is proved term by term, in three cases of signs
  have term : ∀ i j, (if j = i then 4 * (D i i * (x i * x i)) else 0) ≤
      2 * (D i j * (x i * x j)) +
        (absVal (D i j) * (x i * x i) + absVal (D i j) * (x j * x j)) := by
    intro i j
    have h1 := le_absVal (D i j)
    have h2 := neg_le_absVal (D i j)
    split
    · rename_i e
      subst e
      have h3 := mul_nonneg (show 0 ≤ absVal (D j j) - D j j by grind) (mul_self_nonneg (x j))
      grind
    · have h3 := mul_nonneg (show 0 ≤ absVal (D i j) - D i j by grind)
        (mul_self_nonneg (x i - x j))
      have h4 := mul_nonneg (show 0 ≤ absVal (D i j) + D i j by grind)
        (mul_self_nonneg (x i + x j))
      grind
  have total := sum_le_sum fun i => sum_le_sum (term i)
  have left : (sum fun i => sum fun j => if j = i then 4 * (D i i * (x i * x i)) else 0) =
      4 * sum fun i => D i i * (x i * x i) := by
    rw [← sum_mul_left]
    exact sum_congr fun i => sum_ite_eq i _
  have form : (sum fun i => sum fun j => 2 * (D i j * (x i * x j))) =
      2 * dot x (mulVec D x) := by
    unfold dot mulVec dot
    rw [← sum_mul_left]
    refine sum_congr fun i => ?_
    rw [← sum_mul_left, ← sum_mul_left]
    exact sum_congr fun j => by grind
  have swap : (sum fun i => sum fun j => absVal (D i j) * (x j * x j)) =
      sum fun i => sum fun j => absVal (D i j) * (x i * x i) := by
    rw [sum_comm]
    exact sum_congr fun i => sum_congr fun j => by rw [symmetric j i]
  have rows : (sum fun i => sum fun j => absVal (D i j) * (x i * x i)) ≤
      2 * sum fun i => D i i * (x i * x i) := by
    rw [← sum_mul_left]
    refine sum_le_sum fun i => ?_
    rw [sum_mul_right]
    have h := mul_le_mul (dominant i) (Std.le_refl (x i * x i)) (mul_self_nonneg (x i))
      (Std.le_trans (sum_nonneg fun j => absVal_nonneg (D i j)) (dominant i))
    have e : 2 * D i i * (x i * x i) = 2 * (D i i * (x i * x i)) := by grind
    rw [← e]
    exact h
  have split : (sum fun i => sum fun j => 2 * (D i j * (x i * x j)) +
      (absVal (D i j) * (x i * x i) + absVal (D i j) * (x j * x j))) =
      2 * dot x (mulVec D x) + ((sum fun i => sum fun j => absVal (D i j) * (x i * x i)) +
        sum fun i => sum fun j => absVal (D i j) * (x j * x j)) := by
    rw [← form, ← sum_add, ← sum_add]
    exact sum_congr fun i => by rw [← sum_add, ← sum_add]
  rw [left, split, swap] at total
  clear term split left swap form symmetric dominant
  grind

/-- What is left of `c² I - AᵀA` after `LᵀL` has been taken away.

Python: `peelverify.bounds.matrix.spectral_residual` -/
def spectralResidual {m n p : Nat} (A : Fin m → Fin n → α) (L : Fin p → Fin n → α) (c : α) :
    Fin n → Fin n → α :=
  fun i j => (if i = j then c * c else 0) - gram A i j - gram L i j

/-- Check that `L` proves `c` to be a bound on the operator norm of `A`.

Python: `peelverify.bounds.matrix.spectral_check` -/
def spectralCheck {m n p : Nat} (A : Fin m → Fin n → α) (L : Fin p → Fin n → α) (c : α) : Bool :=
  decide (0 ≤ c) && decide (∀ i, (sum fun j => absVal (spectralResidual A L c i j)) ≤
    2 * spectralResidual A L c i i)

/-- Spectral certificate: if `c² I - AᵀA = LᵀL + D` with a diagonally dominant `D`, then `c` bounds
the operator norm of `A`; `L` may have any number of rows.

Python: `peelverify.bounds.matrix.spectral_check` -/
theorem opNorm2Le_of_spectral_certificate {m n p : Nat} {A : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {D : Fin n → Fin n → α} {c : α} (c_nonneg : 0 ≤ c)
    (decomposition : ∀ i j, (if i = j then c * c else 0) - gram A i j = gram L i j + D i j)
    (dominant : DiagonallyDominant D) : OpNorm2Le A c := by
  -- more lines than usual: symmetry of `D` has to be derived before its quadratic form is used
  have gram_symm : ∀ {q : Nat} (M : Fin q → Fin n → α) (i j : Fin n), gram M i j = gram M j i :=
    fun M i j => dot_comm _ _
  have symmetric : ∀ i j, D i j = D j i := by
    intro i j
    have h1 := decomposition i j
    have h2 := decomposition j i
    rw [gram_symm A i j, gram_symm L i j] at h1
    have h3 : (if i = j then c * c else 0) = if j = i then c * c else 0 := by
      by_cases e : i = j
      · rw [if_pos e, if_pos e.symm]
      · rw [if_neg e, if_neg (Ne.symm e)]
    rw [h3] at h1
    grind
  refine ⟨c_nonneg, fun x => ?_⟩
  have hD := dot_mulVec_nonneg_of_diagonallyDominant symmetric dominant x
  have hL := normSq_nonneg (mulVec L x)
  have key : c * c * normSq x - normSq (mulVec A x) = normSq (mulVec L x) + dot x (mulVec D x) := by
    rw [normSq_mulVec, normSq_mulVec, ← dot_add_right]
    have e : c * c * normSq x = dot x fun i => c * c * x i := (dot_smul_right _ _ _).symm
    rw [e, ← dot_sub_right]
    refine sum_congr fun i => ?_
    have h : c * c * x i - mulVec (gram A) x i = mulVec (gram L) x i + mulVec D x i := by
      have h1 : c * c * x i = sum fun j => (if j = i then c * c * x i else 0) :=
        (sum_ite_eq i _).symm
      rw [h1]
      unfold mulVec dot
      rw [← sum_sub, ← sum_add]
      refine sum_congr fun j => ?_
      have h2 := decomposition i j
      by_cases e : j = i
      · subst e
        rw [if_pos rfl] at h2
        rw [if_pos rfl]
        clear decomposition dominant
        grind
      · rw [if_neg (Ne.symm e)] at h2
        rw [if_neg e]
        clear decomposition dominant
        grind
    show x i * (c * c * x i - mulVec (gram A) x i) = x i * (mulVec (gram L) x i + mulVec D x i)
    rw [h]
  clear decomposition dominant symmetric gram_symm
  grind

/-- A certificate that passes `spectralCheck` bounds the operator norm.

Python: `peelverify.bounds.matrix.spectral_check` -/
theorem opNorm2Le_of_spectralCheck {m n p : Nat} {A : Fin m → Fin n → α}
    {L : Fin p → Fin n → α} {c : α} (passes : spectralCheck A L c = true) : OpNorm2Le A c := by
  simp only [spectralCheck, Bool.and_eq_true, decide_eq_true_eq] at passes
  refine opNorm2Le_of_spectral_certificate (L := L) (D := spectralResidual A L c) passes.1
    (fun i j => ?_) passes.2
  unfold spectralResidual
  grind

end Decidable

end Order

section Examples

private abbrev shear : Fin 2 → Fin 2 → Rat := mat [[1, 1], [0, 1]]
private abbrev diag34 : Fin 2 → Fin 2 → Rat := mat [[3, 0], [0, 4]]

example : ∀ i, mulVec shear (vec [1, 2]) i = (vec [3, 2] : Fin 2 → Rat) i := by decide +kernel
example : ∀ i j, matMul shear shear i j = (mat [[1, 2], [0, 1]] : Fin 2 → Fin 2 → Rat) i j := by
  decide +kernel
example : ∀ i j, transpose shear i j = (mat [[1, 0], [1, 1]] : Fin 2 → Fin 2 → Rat) i j := by
  decide +kernel
example : ∀ i j, gram shear i j = (mat [[1, 1], [1, 2]] : Fin 2 → Fin 2 → Rat) i j := by
  decide +kernel
example : frobSq diag34 = 25 := by decide +kernel
example : frobSq (mat [] : Fin 0 → Fin 3 → Rat) = 0 := by decide +kernel
example : FrobLe diag34 5 := by unfold FrobLe; decide +kernel
example : OpNorm2Le diag34 5 := OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)
example : FrobLe (fun i j => diag34 i j + shear i j) (5 + 2) :=
  FrobLe.add (by unfold FrobLe; decide +kernel) (by unfold FrobLe; decide +kernel)
example : spectralCheck shear (mat [[5 / 4, -4 / 5]] : Fin 1 → Fin 2 → Rat) (17 / 10) = true := by
  decide +kernel
example : spectralCheck shear (mat [] : Fin 0 → Fin 2 → Rat) 1 = false := by decide +kernel
example : ∀ i j, spectralResidual diag34 (mat [] : Fin 0 → Fin 2 → Rat) 4 i j =
    (mat [[7, 0], [0, 0]] : Fin 2 → Fin 2 → Rat) i j := by decide +kernel
example : OpNorm2Le diag34 4 :=
  opNorm2Le_of_spectralCheck (L := (mat [] : Fin 0 → Fin 2 → Rat)) (by decide +kernel)
example : OpNorm2Le shear 2 :=
  opNorm2Le_of_schur (r := 2) (k := 2) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : OpNorm2Le shear (17 / 10) :=
  opNorm2Le_of_gram (g := 14 / 5) (by decide +kernel)
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)) (by decide +kernel)
example : OpNorm2Le shear (17 / 10) :=
  opNorm2Le_of_gram_chain 1 (fun k => [shear, gram shear].getD k shear)
    (fun k => [17 / 10, 14 / 5].getD k 0) (by decide +kernel)
    (fun k hk => by have e : k = 0 := by omega
                    subst e; rfl)
    (by unfold FrobLe; decide +kernel) (by decide +kernel)
example (x : Fin 2 → Rat) :
    normSq (fun i => x i + mulVec diag34 x i) ≤ (1 + 4) * (1 + 4) * normSq x :=
  OpNorm2Le.one_add (opNorm2Le_of_spectralCheck (L := (mat [] : Fin 0 → Fin 2 → Rat))
    (by decide +kernel)) x
example : OpNorm2Le (matMul diag34 shear) (5 * 2) :=
  OpNorm2Le.mul (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
example : OpNorm2Le (fun i j => diag34 i j + shear i j) (5 + 2) :=
  OpNorm2Le.add (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
example : frobSq (transpose shear) = frobSq shear := frobSq_transpose shear
example : normSq (mulVec shear (vec [1, 2])) ≤ frobSq shear * normSq (vec [1, 2] : Fin 2 → Rat) :=
  normSq_mulVec_le shear (vec [1, 2])
example : frobSq (matMul diag34 shear) ≤ frobSq diag34 * frobSq shear := frobSq_mul_le diag34 shear
example : Norm2Le (mulVec diag34 (vec [3, 4])) (5 * 5) :=
  OpNorm2Le.norm2Le_mulVec (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
    (by unfold Norm2Le; decide +kernel)
example : DiagonallyDominant (mat [[2, -1], [-1, 1]] : Fin 2 → Fin 2 → Rat) := by
  unfold DiagonallyDominant; decide +kernel
example : ¬ DiagonallyDominant (mat [[-1]] : Fin 1 → Fin 1 → Rat) := by
  unfold DiagonallyDominant; decide +kernel
example (x : Fin 2 → Rat) :
    0 ≤ dot x (mulVec (mat [[2, -1], [-1, 1]] : Fin 2 → Fin 2 → Rat) x) :=
  dot_mulVec_nonneg_of_diagonallyDominant (by decide +kernel)
    (by unfold DiagonallyDominant; decide +kernel) x
example : OpNorm2Le diag34 4 :=
  opNorm2Le_of_spectral_certificate (L := (mat [[2, 0]] : Fin 1 → Fin 2 → Rat))
    (D := mat [[3, 0], [0, 0]]) (by decide +kernel) (by decide +kernel)
    (by unfold DiagonallyDominant; decide +kernel)
example : OpNorm2Le (transpose shear) 2 :=
  OpNorm2Le.transpose (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))
example : gramCheck shear [17 / 10, 14 / 5] = true := by decide +kernel
example : gramCheck shear [17 / 10] = false := by decide +kernel
example : gramCheck shear [] = false := by decide +kernel
example : OpNorm2Le shear (17 / 10) :=
  opNorm2Le_of_gramCheck (rest := [14 / 5]) (by decide +kernel)

end Examples

end PeelVerify
