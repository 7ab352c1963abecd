module

public import Proofs.Logits
public import Proofs.Peeling
public import Proofs.Propagation

/-!
# Certificates

Rational data, executable checks, and the theorems that say what a passed check means.

## Main results

* `check_sound`, `check_sound_states`: a chain certificate bounds the last error, directly and by
  the chain of gains; once for numbers, once for the states of two models.
* `unitsCheck_sound`: loss figures from figures of the windows; `unitsCheck_append`: part by part.
* `matrixCheck_sound`: one compressed matrix, for every input of bounded length.
* `dualCheck_sound`: a lower bound on the loss of every weight vector.

## Assumptions

`check_sound` is conditional: it assumes that the errors lie in their enclosures. That the
enclosures belong to a model is a matter of recomputing them. `matrixCheck_sound` and
`dualCheck_sound` hold for the data inside the certificate without such an assumption.

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

section Data

/-- Two numbers with a third one between them.

Python: none (a pair of numbers in the file) -/
structure Enclosure (α : Type u) where
  /-- The lower end. -/
  lo : α
  /-- The upper end. -/
  hi : α

/-- What a certificate records about one block.

Python: none (an object in the file) -/
structure BlockRecord (α : Type u) where
  /-- The norm of the error that comes through the block. -/
  propagated : Enclosure α
  /-- The norm of the error that the block adds. -/
  introduced : Enclosure α
  /-- The norm of the error after the block. -/
  error : Enclosure α
  /-- A bound on propagated error over incoming error. -/
  gain : α
  /-- The chain bound after the block. -/
  chain : α

/-- A certificate for the error of a compressed model.

Python: none (an object in the file) -/
structure ChainCertificate (α : Type u) where
  /-- The norm of the error before the first block. -/
  initial : Enclosure α
  /-- One record for each block, in the order of the signal. -/
  blocks : List (BlockRecord α)
  /-- The bound on the last error as measured. -/
  direct : α
  /-- The bound with a margin for other machines. -/
  portable : α
  /-- The bound from the gains. -/
  chainBound : α

/-- What a certificate records about the logits of one window of text.

Python: none (an object in the file) -/
structure WindowRecord (α : Type u) where
  /-- An upper bound on the largest oscillation of the logit change. -/
  oscillationMax : α
  /-- An upper bound on the sum of the oscillations. -/
  oscillationSum : α
  /-- The number of positions with the same top token. -/
  sameTop : Nat

/-- A certificate in the units of the user: changes of the loss and agreement of top tokens.

Python: none (an object in the file) -/
structure UnitsCertificate (α : Type u) where
  /-- One record for each window. -/
  windows : List (WindowRecord α)
  /-- The number of positions that have a loss. -/
  lossPositions : Nat
  /-- The number of positions. -/
  positions : Nat
  /-- The bound on the largest change of the loss of a token. -/
  lossChangeMax : α
  /-- The bound on the mean change of the loss of a token. -/
  lossChangeMean : α
  /-- The number of positions with the same top token. -/
  sameTop : Nat

/-- A certificate for one matrix, usually the difference of a weight matrix and its compression.

Python: none (an object in the file) -/
structure MatrixCertificate (α : Type u) where
  /-- The number of rows. -/
  rows : Nat
  /-- The number of columns. -/
  columns : Nat
  /-- The number of rows of the factor. -/
  factorRows : Nat
  /-- The entries, row by row. -/
  entries : List (List α)
  /-- The factor of the spectral certificate. -/
  factor : List (List α)
  /-- The bound on the operator norm. -/
  bound : α
  /-- The largest length of an input. -/
  radius : α
  /-- The bound on the length of the output. -/
  output : α

/-- A certificate that no weights fit a target well.

Python: none (an object in the file) -/
structure DualCertificate (α : Type u) where
  /-- The number of samples. -/
  samples : Nat
  /-- The number of features. -/
  features : Nat
  /-- The features, one row for each sample. -/
  inputs : List (List α)
  /-- The target. -/
  target : List α
  /-- A vector that is orthogonal to every feature. -/
  dual : List α
  /-- The lower bound on the squared residual. -/
  lower : α

end Data

section Checks

variable [Field α] [LE α] [DecidableLE α]

/-- A number lies in an enclosure.

Python: none (a comparison) -/
def Enclosure.Mem (e : Enclosure α) (x : α) : Prop := e.lo ≤ x ∧ x ≤ e.hi

/-- The 2-norm of a vector lies in an enclosure.

Python: none (a comparison of squares) -/
def Enclosure.NormMem (e : Enclosure α) {n : Nat} (x : Fin n → α) : Prop :=
  Norm2Ge x e.lo ∧ Norm2Le x e.hi

/-- The ends of an enclosure of a norm are in order and not negative.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
def Enclosure.valid (e : Enclosure α) : Bool := decide (0 ≤ e.lo) && decide (e.lo ≤ e.hi)

/-- Check one block against the error enclosure and the chain bound before it.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
def blockCheck (before : Enclosure α) (chain : α) (b : BlockRecord α) : Bool :=
  b.propagated.valid && b.introduced.valid && b.error.valid && decide (0 ≤ b.gain) &&
    decide (b.propagated.hi ≤ b.gain * before.lo) &&
    (!decide (before.hi ≤ 0) || decide (b.propagated.hi ≤ 0)) &&
    decide (b.gain * chain + b.introduced.hi ≤ b.chain) &&
    decide (b.error.lo ≤ b.propagated.hi + b.introduced.hi)

/-- Check the blocks one after the other.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
def blocksCheck (before : Enclosure α) (chain : α) : List (BlockRecord α) → Bool
  | [] => true
  | b :: rest => blockCheck before chain b && blocksCheck b.error b.chain rest

/-- The enclosure of the error after the last block.

Python: none (the last entry of a list) -/
def lastError (before : Enclosure α) : List (BlockRecord α) → Enclosure α
  | [] => before
  | b :: rest => lastError b.error rest

/-- The chain bound after the last block.

Python: none (the last entry of a list) -/
def lastChain (chain : α) : List (BlockRecord α) → α
  | [] => chain
  | b :: rest => lastChain b.chain rest

/-- Check a chain certificate.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
def check (c : ChainCertificate α) : Bool :=
  c.initial.valid && blocksCheck c.initial c.initial.hi c.blocks &&
    decide ((lastError c.initial c.blocks).hi ≤ c.direct) && decide (c.direct ≤ c.portable) &&
    decide (lastChain c.initial.hi c.blocks ≤ c.chainBound)

/-- The pairs of gain and introduced error of a chain certificate.

Python: none (a part of the file) -/
def ChainCertificate.steps (c : ChainCertificate α) : List (α × α) :=
  c.blocks.map fun b => (b.gain, b.introduced.hi)

/-- The sum of the oscillations of all windows.

Python: none (the built-in `sum`) -/
def oscillationTotal : List (WindowRecord α) → α
  | [] => 0
  | w :: rest => w.oscillationSum + oscillationTotal rest

/-- The number of positions with the same top token in all windows.

Python: none (the built-in `sum`) -/
def sameTopTotal : List (WindowRecord α) → Nat
  | [] => 0
  | w :: rest => w.sameTop + sameTopTotal rest

/-- Check the figures in the units of the user.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
def unitsCheck (c : UnitsCertificate α) : Bool :=
  (c.windows.all fun w => decide (w.oscillationMax ≤ c.lossChangeMax)) &&
    decide (oscillationTotal c.windows ≤ c.lossChangeMean * (c.lossPositions : α)) &&
    decide (sameTopTotal c.windows = c.sameTop) && decide (c.sameTop ≤ c.positions)

/-- Check the certificate of one matrix.

Python: `peelverify.bounds.certificate.matrix_check` -/
def matrixCheck (c : MatrixCertificate α) : Bool :=
  spectralCheck (mat c.entries : Fin c.rows → Fin c.columns → α)
      (mat c.factor : Fin c.factorRows → Fin c.columns → α) c.bound &&
    decide (0 ≤ c.radius) && decide (c.bound * c.radius ≤ c.output)

/-- Check a dual certificate.

Python: `peelverify.bounds.certificate.dual_check` -/
def dualCheck (c : DualCertificate α) : Bool :=
  decide (∀ j, mulVec (transpose (mat c.inputs : Fin c.samples → Fin c.features → α))
      (vec c.dual) j ≤ 0 ∧
    0 ≤ mulVec (transpose (mat c.inputs : Fin c.samples → Fin c.features → α)) (vec c.dual) j) &&
    !decide (normSq (vec c.dual : Fin c.samples → α) ≤ 0) &&
    decide (c.lower * normSq (vec c.dual : Fin c.samples → α) ≤
      dot (vec c.dual : Fin c.samples → α) (vec c.target) *
        dot (vec c.dual : Fin c.samples → α) (vec c.target))

end Checks

section Sound

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

private theorem blockCheck_spec {before : Enclosure α} {chain : α} {b : BlockRecord α}
    (h : blockCheck before chain b = true) :
    0 ≤ b.gain ∧ b.propagated.hi ≤ b.gain * before.lo ∧
      b.gain * chain + b.introduced.hi ≤ b.chain := by
  simp only [blockCheck, Bool.and_eq_true, decide_eq_true_eq] at h
  exact ⟨h.1.1.1.1.2, h.1.1.1.2, h.1.2⟩

private theorem blocksCheck_sound (blocks : List (BlockRecord α)) (before : Enclosure α)
    (chain : α) (passes : blocksCheck before chain blocks = true) (e a d : Nat → α)
    (start : before.Mem (e 0)) (start_le : e 0 ≤ chain)
    (propagated_mem : ∀ t (ht : t < blocks.length), blocks[t].propagated.Mem (a t))
    (introduced_mem : ∀ t (ht : t < blocks.length), blocks[t].introduced.Mem (d t))
    (error_mem : ∀ t (ht : t < blocks.length), blocks[t].error.Mem (e (t + 1)))
    (triangle : ∀ t, t < blocks.length → e (t + 1) ≤ a t + d t) :
    e blocks.length ≤ (lastError before blocks).hi ∧
      e blocks.length ≤ lastChain chain blocks ∧
      ∀ t (ht : t < blocks.length), e (t + 1) ≤ blocks[t].chain := by
  induction blocks generalizing before chain e a d with
  | nil => exact ⟨start.2, start_le, fun t ht => absurd ht (Nat.not_lt_zero t)⟩
  | cons b rest ih =>
    simp only [blocksCheck, Bool.and_eq_true] at passes
    obtain ⟨gain_nonneg, gain_le, chain_le⟩ := blockCheck_spec passes.1
    have ha : a 0 ≤ b.propagated.hi := (propagated_mem 0 (Nat.zero_lt_succ _)).2
    have hd : d 0 ≤ b.introduced.hi := (introduced_mem 0 (Nat.zero_lt_succ _)).2
    have ht : e 1 ≤ a 0 + d 0 := triangle 0 (Nat.zero_lt_succ _)
    have h1 := mul_le_mul_left gain_nonneg (Std.le_trans start.1 start_le)
    have step : e 1 ≤ b.chain := by
      clear ih propagated_mem introduced_mem error_mem triangle
      grind
    have h := ih b.error b.chain passes.2 (fun t => e (t + 1)) (fun t => a (t + 1))
      (fun t => d (t + 1)) (error_mem 0 (Nat.zero_lt_succ _)) step
      (fun t ht => propagated_mem (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => introduced_mem (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => error_mem (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => triangle (t + 1) (Nat.succ_lt_succ ht))
    refine ⟨h.1, h.2.1, fun t ht => ?_⟩
    cases t with
    | zero => exact step
    | succ t => exact h.2.2 t (Nat.lt_of_succ_lt_succ ht)

/-- A chain certificate that passes the check bounds the last error directly, with the portable
margin and by the chain of gains, and bounds the error after every block, provided that the true
numbers lie in their enclosures and obey the triangle inequality.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
theorem check_sound (c : ChainCertificate α) (passes : check c = true) (e a d : Nat → α)
    (initial_mem : c.initial.Mem (e 0))
    (propagated_mem : ∀ t (ht : t < c.blocks.length), c.blocks[t].propagated.Mem (a t))
    (introduced_mem : ∀ t (ht : t < c.blocks.length), c.blocks[t].introduced.Mem (d t))
    (error_mem : ∀ t (ht : t < c.blocks.length), c.blocks[t].error.Mem (e (t + 1)))
    (triangle : ∀ t, t < c.blocks.length → e (t + 1) ≤ a t + d t) :
    e c.blocks.length ≤ c.direct ∧ e c.blocks.length ≤ c.portable ∧
      e c.blocks.length ≤ c.chainBound ∧
      ∀ t (ht : t < c.blocks.length), e (t + 1) ≤ c.blocks[t].chain := by
  simp only [check, Bool.and_eq_true, decide_eq_true_eq] at passes
  have h := blocksCheck_sound c.blocks c.initial c.initial.hi passes.1.1.1.2 e a d initial_mem
    initial_mem.2 propagated_mem introduced_mem error_mem triangle
  have h1 := Std.le_trans h.1 passes.1.1.2
  exact ⟨h1, Std.le_trans h1 passes.1.2, Std.le_trans h.2.1 passes.2, h.2.2⟩

private theorem blocksCheck_sound_states (blocks : List (BlockRecord α)) (before : Enclosure α)
    (chain : α) (passes : blocksCheck before chain blocks = true) (size : Nat → Nat)
    (error propagated introduced : (t : Nat) → Fin (size t) → α)
    (start : before.NormMem (error 0)) (start_le : Norm2Le (error 0) chain)
    (propagated_mem : ∀ t (ht : t < blocks.length),
      blocks[t].propagated.NormMem (propagated (t + 1)))
    (introduced_mem : ∀ t (ht : t < blocks.length),
      blocks[t].introduced.NormMem (introduced (t + 1)))
    (error_mem : ∀ t (ht : t < blocks.length), blocks[t].error.NormMem (error (t + 1)))
    (split : ∀ t, t < blocks.length → ∀ i,
      error (t + 1) i = propagated (t + 1) i + introduced (t + 1) i) :
    Norm2Le (error blocks.length) (lastError before blocks).hi ∧
      Norm2Le (error blocks.length) (lastChain chain blocks) ∧
      ∀ t (ht : t < blocks.length), Norm2Le (error (t + 1)) blocks[t].chain := by
  induction blocks generalizing before chain size error propagated introduced with
  | nil => exact ⟨start.2, start_le, fun t ht => absurd ht (Nat.not_lt_zero t)⟩
  | cons b rest ih =>
    simp only [blocksCheck, Bool.and_eq_true] at passes
    obtain ⟨gain_nonneg, gain_le, chain_le⟩ := blockCheck_spec passes.1
    have ha : Norm2Le (propagated 1) b.propagated.hi := (propagated_mem 0 (Nat.zero_lt_succ _)).2
    have hd : Norm2Le (introduced 1) b.introduced.hi := (introduced_mem 0 (Nat.zero_lt_succ _)).2
    have hs : error 1 = fun i => propagated 1 i + introduced 1 i :=
      funext (split 0 (Nat.zero_lt_succ _))
    have h1 := mul_le_mul_left gain_nonneg (Norm2Ge.le start.1 start_le)
    have step : Norm2Le (error 1) b.chain := by
      rw [hs]
      refine (ha.add hd).mono ?_
      clear ih propagated_mem introduced_mem error_mem split hs ha hd start start_le
      grind
    have h := ih b.error b.chain passes.2 (fun t => size (t + 1)) (fun t => error (t + 1))
      (fun t => propagated (t + 1)) (fun t => introduced (t + 1))
      (error_mem 0 (Nat.zero_lt_succ _)) step
      (fun t ht => propagated_mem (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => introduced_mem (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => error_mem (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => split (t + 1) (Nat.succ_lt_succ ht))
    refine ⟨h.1, h.2.1, fun t ht => ?_⟩
    cases t with
    | zero => exact step
    | succ t => exact h.2.2 t (Nat.lt_of_succ_lt_succ ht)

/-- A chain certificate that passes the check bounds the distance of the states of two models
after the last block and after every block, provided that the difference of the states splits into
a propagated and an introduced part whose norms lie in the enclosures.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
theorem check_sound_states (c : ChainCertificate α) (passes : check c = true) (size : Nat → Nat)
    (original compressed propagated introduced : (t : Nat) → Fin (size t) → α)
    (initial_mem : c.initial.NormMem fun i => compressed 0 i - original 0 i)
    (propagated_mem : ∀ t (ht : t < c.blocks.length),
      c.blocks[t].propagated.NormMem (propagated (t + 1)))
    (introduced_mem : ∀ t (ht : t < c.blocks.length),
      c.blocks[t].introduced.NormMem (introduced (t + 1)))
    (error_mem : ∀ t (ht : t < c.blocks.length),
      c.blocks[t].error.NormMem fun i => compressed (t + 1) i - original (t + 1) i)
    (split : ∀ t, t < c.blocks.length → ∀ i,
      compressed (t + 1) i - original (t + 1) i = propagated (t + 1) i + introduced (t + 1) i) :
    Norm2Le (fun i => compressed c.blocks.length i - original c.blocks.length i) c.direct ∧
      Norm2Le (fun i => compressed c.blocks.length i - original c.blocks.length i) c.portable ∧
      Norm2Le (fun i => compressed c.blocks.length i - original c.blocks.length i) c.chainBound ∧
      ∀ t (ht : t < c.blocks.length),
        Norm2Le (fun i => compressed (t + 1) i - original (t + 1) i) c.blocks[t].chain := by
  simp only [check, Bool.and_eq_true, decide_eq_true_eq] at passes
  have h := blocksCheck_sound_states c.blocks c.initial c.initial.hi passes.1.1.1.2 size
    (fun t i => compressed t i - original t i) propagated introduced initial_mem
    initial_mem.2 propagated_mem introduced_mem error_mem split
  have h1 := h.1.mono passes.1.1.2
  exact ⟨h1, h1.mono passes.1.2, h.2.1.mono passes.2, h.2.2⟩

/-- The chain bound of a certificate that passes the check is at least the chain bound of its
gains and introduced errors.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem chainBound_le_of_check (c : ChainCertificate α) (passes : check c = true) :
    PeelVerify.chainBound c.initial.hi c.steps ≤ c.chainBound := by
  simp only [check, Bool.and_eq_true, decide_eq_true_eq] at passes
  have key : ∀ (blocks : List (BlockRecord α)) (before : Enclosure α) (e0 chain : α),
      e0 ≤ chain → blocksCheck before chain blocks = true →
      PeelVerify.chainBound e0 (blocks.map fun b => (b.gain, b.introduced.hi)) ≤
        lastChain chain blocks := by
    intro blocks
    induction blocks with
    | nil => intro _ _ _ h _; exact h
    | cons b rest ih =>
      intro before e0 chain hle hpass
      simp only [blocksCheck, Bool.and_eq_true] at hpass
      obtain ⟨gain_nonneg, _, chain_le⟩ := blockCheck_spec hpass.1
      have h1 := mul_le_mul_left gain_nonneg hle
      refine ih b.error _ b.chain ?_ hpass.2
      show b.gain * e0 + b.introduced.hi ≤ b.chain
      clear ih
      grind
  exact Std.le_trans (key c.blocks c.initial _ _ (Std.le_refl _) passes.1.1.1.2) passes.2

/-- Loss figures that pass the check bound the change of the loss of every token and the sum of
all changes, provided that each window's figures bound its own changes.

Python: none (the checker of the file does this arithmetic, and runs without this package) -/
theorem unitsCheck_sound (c : UnitsCertificate α) (passes : unitsCheck c = true)
    (lossChanges : Nat → List α)
    (each_le : ∀ k (hk : k < c.windows.length), ∀ x ∈ lossChanges k,
      x ≤ c.windows[k].oscillationMax)
    (sum_le : ∀ k (hk : k < c.windows.length),
      listSum (lossChanges k) ≤ c.windows[k].oscillationSum) :
    (∀ k, k < c.windows.length → ∀ x ∈ lossChanges k, x ≤ c.lossChangeMax) ∧
      listSum ((List.range c.windows.length).map fun k => listSum (lossChanges k)) ≤
        c.lossChangeMean * (c.lossPositions : α) ∧
      sameTopTotal c.windows = c.sameTop := by
  simp only [unitsCheck, Bool.and_eq_true, decide_eq_true_eq, List.all_eq_true] at passes
  have key : ∀ (windows : List (WindowRecord α)) (f : Nat → α),
      (∀ k (hk : k < windows.length), f k ≤ windows[k].oscillationSum) →
      listSum ((List.range windows.length).map f) ≤ oscillationTotal windows := by
    intro windows
    induction windows with
    | nil => intro f _; exact Std.le_refl _
    | cons w rest ih =>
      intro f hf
      have h0 : f 0 ≤ w.oscillationSum := hf 0 (Nat.zero_lt_succ _)
      have h1 := ih (fun k => f (k + 1)) fun k hk => hf (k + 1) (Nat.succ_lt_succ hk)
      simp only [List.length_cons, List.range_succ_eq_map, List.map_cons, List.map_map, listSum,
        oscillationTotal]
      have e : (f ∘ Nat.succ) = fun k => f (k + 1) := rfl
      rw [e]
      clear ih hf e
      grind
  refine ⟨fun k hk x hx => ?_, ?_, passes.1.2⟩
  · exact Std.le_trans (each_le k hk x hx) (passes.1.1.1 _ (List.getElem_mem hk))
  · exact Std.le_trans (key c.windows _ sum_le) passes.1.1.2

/-- Loss figures of some windows and of others, which pass their checks, make figures of all windows
that pass: the largest change and the sum are at most those stated, and the counts add up. So the
windows of a long text can be checked a part at a time.

Python: none (the file that the kernel checks is cut into parts by it) -/
theorem unitsCheck_append (a b c : UnitsCertificate α) (a_passes : unitsCheck a = true)
    (b_passes : unitsCheck b = true) (windows : c.windows = a.windows ++ b.windows)
    (a_max : a.lossChangeMax ≤ c.lossChangeMax) (b_max : b.lossChangeMax ≤ c.lossChangeMax)
    (mean : a.lossChangeMean * (a.lossPositions : α) + b.lossChangeMean * (b.lossPositions : α) ≤
      c.lossChangeMean * (c.lossPositions : α))
    (sameTop : a.sameTop + b.sameTop = c.sameTop) (sameTop_le : c.sameTop ≤ c.positions) :
    unitsCheck c = true := by
  have osc : ∀ x y : List (WindowRecord α),
      oscillationTotal (x ++ y) = oscillationTotal x + oscillationTotal y := by
    intro x y
    induction x with
    | nil => simp only [List.nil_append, oscillationTotal]; grind
    | cons w rest ih => simp only [List.cons_append, oscillationTotal, ih]; grind
  have top : ∀ x y : List (WindowRecord α),
      sameTopTotal (x ++ y) = sameTopTotal x + sameTopTotal y := by
    intro x y
    induction x with
    | nil => simp only [List.nil_append, sameTopTotal, Nat.zero_add]
    | cons w rest ih => simp only [List.cons_append, sameTopTotal, ih, Nat.add_assoc]
  simp only [unitsCheck, Bool.and_eq_true, decide_eq_true_eq, List.all_eq_true] at a_passes b_passes ⊢
  obtain ⟨⟨⟨a_all, a_sum⟩, a_top⟩, _⟩ := a_passes
  obtain ⟨⟨⟨b_all, b_sum⟩, b_top⟩, _⟩ := b_passes
  rw [windows, osc, top, a_top, b_top]
  refine ⟨⟨⟨fun w hw => ?_, ?_⟩, sameTop⟩, sameTop_le⟩
  · rcases List.mem_append.mp hw with h | h
    · exact Std.le_trans (a_all w h) a_max
    · exact Std.le_trans (b_all w h) b_max
  · clear osc top a_all b_all a_top b_top windows
    grind

/-- A matrix certificate that passes the check bounds the output for every input that is no longer
than the stated radius, whatever the input is.

Python: `peelverify.bounds.certificate.matrix_check` -/
theorem matrixCheck_sound (c : MatrixCertificate α) (passes : matrixCheck c = true)
    (x : Fin c.columns → α) (radius : Norm2Le x c.radius) :
    Norm2Le (mulVec (mat c.entries : Fin c.rows → Fin c.columns → α) x) c.output := by
  simp only [matrixCheck, Bool.and_eq_true, decide_eq_true_eq] at passes
  exact ((opNorm2Le_of_spectralCheck passes.1.1).norm2Le_mulVec radius).mono passes.2

/-- A dual certificate that passes the check bounds the squared residual of every weight vector
from below.

Python: `peelverify.bounds.certificate.dual_check` -/
theorem dualCheck_sound (c : DualCertificate α) (passes : dualCheck c = true)
    (w : Fin c.features → α) :
    c.lower ≤ normSq
      (residual (mat c.inputs : Fin c.samples → Fin c.features → α) (vec c.target) w) := by
  simp only [dualCheck, Bool.and_eq_true, decide_eq_true_eq, Bool.not_eq_true',
    decide_eq_false_iff_not] at passes
  obtain ⟨⟨feasible, positive⟩, lower_le⟩ := passes
  have h := weak_duality (mat c.inputs : Fin c.samples → Fin c.features → α) (vec c.target)
    (vec c.dual) w fun j => by have := feasible j; clear feasible; grind
  clear feasible
  refine le_of_mul_le_mul_left (c := normSq (vec c.dual : Fin c.samples → α)) (by grind) ?_
  refine Std.le_trans ?_ h
  grind

end Sound

section Examples

private abbrev tiny : ChainCertificate Rat where
  initial := ⟨1, 1⟩
  blocks := [
    { propagated := ⟨1, 2⟩, introduced := ⟨1 / 4, 1 / 4⟩, error := ⟨2, 9 / 4⟩, gain := 2,
      chain := 9 / 4 },
    { propagated := ⟨1, 1⟩, introduced := ⟨0, 1 / 2⟩, error := ⟨1, 3 / 2⟩, gain := 1 / 2,
      chain := 13 / 8 }]
  direct := 3 / 2
  portable := 2
  chainBound := 13 / 8

example : check tiny = true := by decide +kernel
example : check { tiny with direct := 1 } = false := by decide +kernel
example : check { tiny with chainBound := 3 / 2 } = false := by decide +kernel
example : check { tiny with blocks := [] } = true := by decide +kernel
example : tiny.steps = [(2, 1 / 4), (1 / 2, 1 / 2)] := by decide +kernel
example : PeelVerify.chainBound 1 tiny.steps ≤ 13 / 8 :=
  chainBound_le_of_check tiny (by decide +kernel)
example : (3 / 2 : Rat) ≤ tiny.direct :=
  (check_sound tiny (by decide +kernel) (fun t => [1, 9 / 4, 3 / 2].getD t 0)
    (fun t => [2, 1].getD t 0) (fun t => [1 / 4, 1 / 2].getD t 0)
    (by unfold Enclosure.Mem; decide +kernel) (by unfold Enclosure.Mem; decide +kernel)
    (by unfold Enclosure.Mem; decide +kernel) (by unfold Enclosure.Mem; decide +kernel)
    (by decide +kernel)).1

private abbrev single : ChainCertificate Rat where
  initial := ⟨5, 5⟩
  blocks := [
    { propagated := ⟨4, 4⟩, introduced := ⟨3, 3⟩, error := ⟨5, 5⟩, gain := 4 / 5, chain := 7 }]
  direct := 5
  portable := 6
  chainBound := 7

example : Norm2Le (fun i => (vec [4, 3] : Fin 2 → Rat) i - (vec [0, 0] : Fin 2 → Rat) i) 5 :=
  (check_sound_states single (by decide +kernel) (fun _ => 2) (fun _ => vec [0, 0])
    (fun t => [vec [3, 4], vec [4, 3]].getD t (vec []))
    (fun _ => vec [4, 0]) (fun _ => vec [0, 3])
    (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
    (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
    (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
    (by unfold Enclosure.NormMem Norm2Ge Norm2Le; decide +kernel)
    (by decide +kernel)).1

private abbrev loss : UnitsCertificate Rat where
  windows := [⟨1 / 2, 3 / 4, 3⟩, ⟨1 / 4, 1 / 4, 2⟩]
  lossPositions := 4
  positions := 6
  lossChangeMax := 1 / 2
  lossChangeMean := 1 / 4
  sameTop := 5

example : unitsCheck loss = true := by decide +kernel
example : unitsCheck { loss with lossChangeMean := 1 / 5 } = false := by decide +kernel
example : unitsCheck { loss with sameTop := 6 } = false := by decide +kernel
example : unitsCheck (⟨loss.windows ++ loss.windows, 8, 12, 1 / 2, 1 / 4, 10⟩ :
    UnitsCertificate Rat) = true :=
  unitsCheck_append loss loss _ (by decide +kernel) (by decide +kernel) rfl (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : (1 / 2 : Rat) ≤ loss.lossChangeMax :=
  (unitsCheck_sound loss (by decide +kernel)
    (fun k => ([[1 / 2, 1 / 4], [1 / 4, 0]] : List (List Rat)).getD k []) (by decide +kernel)
    (by decide +kernel)).1 0 (by decide +kernel) (1 / 2) (by decide +kernel)

private abbrev diagonal : MatrixCertificate Rat where
  rows := 2
  columns := 2
  factorRows := 0
  entries := [[3, 0], [0, 4]]
  factor := []
  bound := 4
  radius := 2
  output := 8

example : matrixCheck diagonal = true := by decide +kernel
example : matrixCheck { diagonal with bound := 3 } = false := by decide +kernel
example (x : Fin 2 → Rat) (hx : Norm2Le x 2) :
    Norm2Le (mulVec (mat [[3, 0], [0, 4]] : Fin 2 → Fin 2 → Rat) x) 8 :=
  matrixCheck_sound diagonal (by decide +kernel) x hx

private abbrev misfit : DualCertificate Rat where
  samples := 2
  features := 1
  inputs := [[1], [1]]
  target := [3, 1]
  dual := [1, -1]
  lower := 2

example : dualCheck misfit = true := by decide +kernel
example : dualCheck { misfit with dual := [1, 1] } = false := by decide +kernel
example : dualCheck { misfit with lower := 3 } = false := by decide +kernel
example (w : Fin 1 → Rat) :
    (2 : Rat) ≤ normSq (residual (mat [[1], [1]] : Fin 2 → Fin 1 → Rat) (vec [3, 1]) w) :=
  dualCheck_sound misfit (by decide +kernel) w
example : (⟨1, 2⟩ : Enclosure Rat).valid = true := by decide +kernel
example : (⟨2, 1⟩ : Enclosure Rat).valid = false := by decide +kernel
example : (lastError tiny.initial tiny.blocks).hi = 3 / 2 := by decide +kernel
example : lastChain 1 tiny.blocks = 13 / 8 := by decide +kernel
example : blocksCheck tiny.initial 1 tiny.blocks = true := by decide +kernel
example : blockCheck ⟨1, 1⟩ (1 : Rat) ⟨⟨1, 3⟩, ⟨0, 0⟩, ⟨1, 3⟩, 2, 3⟩ = false := by decide +kernel
example : oscillationTotal loss.windows = 1 := by decide +kernel
example : sameTopTotal loss.windows = 5 := by decide +kernel

end Examples

end PeelVerify
